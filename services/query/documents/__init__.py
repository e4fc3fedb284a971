"""Definitions that no worker counts: annotations, subscriptions, alerts, flags."""
