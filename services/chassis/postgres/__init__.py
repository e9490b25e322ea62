"""PostgreSQL for services: pools, plain SQL migrations, and the embedded server of one machine."""

from services.chassis.postgres.launcher import EmbeddedPostgres
from services.chassis.postgres.migrations import Migration, migrate
from services.chassis.postgres.owner import DatabaseOwner, claim_database
from services.chassis.postgres.pool import (
    Connection,
    Pool,
    PostgresSettings,
    entered,
    open_pool,
    session,
)

__all__ = [
    "Connection",
    "DatabaseOwner",
    "EmbeddedPostgres",
    "Migration",
    "Pool",
    "PostgresSettings",
    "claim_database",
    "entered",
    "migrate",
    "open_pool",
    "session",
]
