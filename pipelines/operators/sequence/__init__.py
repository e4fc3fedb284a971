"""Steps in order, one person at a time: shared by funnels and segments."""
