"""What the parts agree on: events, topics, definitions, settings, errors, wire formats."""
