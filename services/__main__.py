"""`python -m services` runs `avila`."""

from services.cli import main

main()
