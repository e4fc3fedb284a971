"""The service that tests of commands share with those of the query service."""

from tests.services.query.conftest import place, shared_service

__all__ = ["place", "shared_service"]
