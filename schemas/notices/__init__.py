"""Notices: what happened, who is told of it and how, and the messages that tell it."""
