"""`python -m services` runs `avila`."""

from services.cli.main import main

main()
