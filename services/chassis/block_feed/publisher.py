"""Feeds the certified blocks of one chain into the domain's bus. One publisher at a time a domain.

Any number of processes may offer to publish; a PostgreSQL advisory lock elects one. Where it put
the last block is kept beside the lock and looked up again: a bus that was deleted, or lost its last
events, is filled again from block 1. A block published twice has one effect.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from typing import Final

import structlog

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.events import BLOCK_TOPIC, block_certified, block_event_id
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from services.chassis.bus.port import Bus, Partition, Position, Topic, TransientError, new_event
from services.chassis.bus.transient import Backoff, is_transient, stay_cancelled
from services.chassis.postgres import Connection, Pool, session

ELECTION_POLL_SECONDS: Final = 1.0
BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 30.0
"""How often it is looked whether the last block is still there, while others are published."""

_PARTITION: Final = Partition(BLOCK_TOPIC, 0)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """The last block that was published, 0 for none, and where it lies on the bus, if known."""

    height: int
    position: Position | None


async def publish_blocks(bus: Bus, pool: Pool, client: ChainClient) -> None:
    """Publish every certified block from where the feed ends, until cancelled."""
    backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS)
    while True:
        try:
            # The end of the session gives up the election.
            async with session(pool) as connection:
                await _wait_elected(connection, client.chain_id)
                await bus.ensure_topics([Topic(BLOCK_TOPIC)])
                await _publish_from(connection, bus, client, backoff)
        except Exception as error:
            stay_cancelled(error)
            # A replica that lies is left for another one, a broken chain or bus is waited for.
            if not isinstance(error, GuqiaoError | ProofError) and not is_transient(error):
                raise
            log.warning("publisher.interrupted", chain=client.chain_id, error=repr(error))
        await asyncio.sleep(backoff.next_seconds())


async def _wait_elected(connection: Connection, chain_id: str) -> None:
    key = zlib.crc32(f"publisher/{chain_id}".encode())
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            return
        await asyncio.sleep(ELECTION_POLL_SECONDS)


async def _publish_from(
    connection: Connection, bus: Bus, client: ChainClient, backoff: Backoff
) -> None:
    clock, place = asyncio.get_running_loop().time, await _place(connection, bus, client.chain_id)
    look_at = clock() + LOOK_SECONDS
    async for block in client.watch_blocks(place.height + 1):
        if clock() >= look_at:
            if place.position is not None and not await _is_there(bus, client.chain_id, place):
                raise TransientError(f"the feed lost block {place.height}")
            look_at = clock() + LOOK_SECONDS
        event = block_certified(client.chain_id, block.height, block.message)
        places = await bus.publish(
            [new_event(event.topic, event.key, event.payload, event_id=event.event_id)]
        )
        place = _Place(block.height, places.get(_PARTITION))
        await connection.execute(
            """
            INSERT INTO published_blocks (chain_id, height, position) VALUES ($1, $2, $3)
            ON CONFLICT (chain_id) DO UPDATE
                SET height = excluded.height, position = excluded.position
            """,
            client.chain_id,
            place.height,
            place.position,
        )
        backoff.reset()


async def _place(connection: Connection, bus: Bus, chain_id: str) -> _Place:
    """The block after which to go on: what was noted, if it still lies on the bus where it was put.

    What others wrote since tells nothing: only who may delete can make the feed begin again.
    """
    row = await connection.fetchrow(
        "SELECT height, position FROM published_blocks WHERE chain_id = $1", chain_id
    )
    if row is None:
        return _Place(0, None)
    noted = _Place(row["height"], row["position"])
    if noted.position is not None and await _is_there(bus, chain_id, noted):
        return noted
    log.warning("publisher.feed_lost", chain=chain_id, published=noted.height)
    return _Place(0, None)


async def _is_there(bus: Bus, chain_id: str, place: _Place) -> bool:
    assert place.position is not None, "it is known where it was put"
    event = await bus.event_at(_PARTITION, place.position)
    return event is not None and event.event_id == block_event_id(chain_id, place.height)
