"""Ties a database to the one service of the one chain whose rows it holds.

Rows of another network look like our own: heights, codes and names are the same words. So the
first start writes down whose database it is, and every later one asks before it reads or changes
anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.chassis.postgres.errors import OtherOwnerError
from services.chassis.postgres.migrations import LOCK
from services.chassis.postgres.pool import Connection

SHOWN_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class DatabaseOwner:
    """A service, and the chain it stands beside: chains of one name differ by their genesis."""

    service: str
    chain_id: str
    genesis_hash: bytes

    def __str__(self) -> str:
        genesis = self.genesis_hash.hex()[:SHOWN_DIGITS]
        return f"{self.service} of {self.chain_id} (genesis {genesis})"


async def claim_database(connection: Connection, owner: DatabaseOwner) -> None:
    """Make sure that the database is the owner's; one that is nobody's yet becomes it.

    Raises `OtherOwnerError` and changes nothing when it is another's. Instances that start together
    take turns, with each other and with migrations.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(_CREATE_TABLE)
        await connection.execute(
            """
            INSERT INTO database_owner (service, chain_id, genesis_hash) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING
            """,
            owner.service,
            owner.chain_id,
            owner.genesis_hash,
        )
        row = await connection.fetchrow(
            """
            SELECT service, chain_id, genesis_hash, current_database() AS database
            FROM database_owner
            """
        )
        assert row is not None
        found = DatabaseOwner(row["service"], row["chain_id"], row["genesis_hash"])
        if found != owner:
            raise OtherOwnerError(row["database"], found=str(found), expected=str(owner))


_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS database_owner (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    service      text    NOT NULL,
    chain_id     text    NOT NULL,
    genesis_hash bytea   NOT NULL CHECK (octet_length(genesis_hash) = 32)
)
"""
