"""What each event of a person did in a funnel, worked out event by event, in words and codes."""
