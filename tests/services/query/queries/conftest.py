"""What the tests of queries share."""

from tests.services.query.queries.asking import asker

__all__ = ["asker"]
