"""The stream: a Faust transport that delivers columns, tables, and the agents that fold events."""
