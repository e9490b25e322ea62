"""Fixtures of every integration test."""

from tests.plugins.postgres import new_database, postgres_server, spare_databases

__all__ = ["new_database", "postgres_server", "spare_databases"]
