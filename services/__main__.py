"""`python -m services` is `avila`."""

from services.cli import main

main()
