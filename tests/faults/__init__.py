"""Real processes that are killed, paused and restarted, and what must hold afterwards."""
