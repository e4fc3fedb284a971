"""Queries about what persons do in a row."""
