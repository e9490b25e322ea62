"""PostgreSQL for services: pools, plain SQL migrations, and the embedded server of one machine."""

from services.chassis.postgres.launcher import EmbeddedPostgres
from services.chassis.postgres.migrations import Migration, migrate
from services.chassis.postgres.pool import Connection, Pool, PostgresSettings, entered, open_pool

__all__ = [
    "Connection",
    "EmbeddedPostgres",
    "Migration",
    "Pool",
    "PostgresSettings",
    "entered",
    "migrate",
    "open_pool",
]
