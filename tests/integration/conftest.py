"""Fixtures of every integration test."""

from tests.plugins.postgres import new_database, postgres_server

__all__ = ["new_database", "postgres_server"]
