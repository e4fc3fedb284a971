"""Sessions of the page: how people sign in, what requests with a session may do, and their end."""
