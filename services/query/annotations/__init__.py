"""Annotations, and funnels before and after a moment."""
