"""Dashboards: their definitions, the figures of their tiles, and links that show one of them."""
