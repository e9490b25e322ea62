"""Feeds the certified blocks of one chain into the domain's bus. One publisher at a time a domain.

Any number of processes may offer to publish; a PostgreSQL advisory lock elects one. Its position is
kept beside the lock and held against the feed's own end: a bus that was deleted, or lost its last
events, is filled again from there. A block published twice has one effect.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from guqiao.consensus.v1 import consensus_events_pb2
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.events import BLOCK_TOPIC, block_certified
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from services.chassis.bus.port import Bus, Topic, TransientError, new_event
from services.chassis.bus.transient import Backoff, is_transient, stay_cancelled
from services.chassis.postgres import Connection, Pool

ELECTION_POLL_SECONDS: Final = 1.0
BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 30.0
"""How often the end of the feed is compared while blocks are published."""

log = structlog.get_logger(__name__)


async def publish_blocks(bus: Bus, pool: Pool, client: ChainClient) -> None:
    """Publish every certified block from where the feed ends, until cancelled."""
    backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS)
    while True:
        try:
            # Giving the connection back to the pool gives up the election.
            async with pool.acquire() as connection:
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
    clock, height = asyncio.get_running_loop().time, await _place(connection, bus, client.chain_id)
    look_at = clock() + LOOK_SECONDS
    async for block in client.watch_blocks(height + 1):
        if clock() >= look_at:
            if (end := await _end_of_feed(bus, client.chain_id)) != height:
                raise TransientError(f"the feed ends with block {end}, {height} was published")
            look_at = clock() + LOOK_SECONDS
        event = block_certified(client.chain_id, block.height, block.message)
        await bus.publish(
            [new_event(event.topic, event.key, event.payload, event_id=event.event_id)]
        )
        await connection.execute(
            """
            INSERT INTO published_blocks (chain_id, height) VALUES ($1, $2)
            ON CONFLICT (chain_id) DO UPDATE SET height = excluded.height
            """,
            client.chain_id,
            block.height,
        )
        height = block.height
        backoff.reset()


async def _place(connection: Connection, bus: Bus, chain_id: str) -> int:
    """The height after which to go on: what was noted, if the feed still goes so far."""
    noted = await connection.fetchval(
        "SELECT height FROM published_blocks WHERE chain_id = $1", chain_id
    )
    if noted is None:
        return 0
    end = await _end_of_feed(bus, chain_id)
    if end < noted:
        log.warning("publisher.feed_shorter", chain=chain_id, published=noted, end=end)
    return min(int(noted), end)


async def _end_of_feed(bus: Bus, chain_id: str) -> int:
    """The height of the chain's last event on the bus; 0 where there is none that can be read."""
    event = await bus.last_event(BLOCK_TOPIC, chain_id)
    if event is None:
        return 0
    try:
        message = consensus_events_pb2.BlockCertified.FromString(event.payload)
    except DecodeError:
        return 0
    return int(message.height)
