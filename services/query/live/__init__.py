"""Results and events as they come, over a WebSocket."""
