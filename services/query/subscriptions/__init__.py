"""Subscriptions: who is told of which events, and how far their messages are."""
