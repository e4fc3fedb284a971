"""Alerts and their incidents, as the API has them."""
