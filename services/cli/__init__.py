"""The command line, `avila`: a module for each command."""
