"""Delivers notices: queues them by subscription, sends them in order, and tries again for a day."""
