"""Follows the certified blocks of one chain and applies each exactly once in effect (reliability
D4).

The block's rows and its position commit together. A repetition is ignored, a gap or a block that
does not link to the last one applied stops the projection until the feed is right again: rows are
never made from a guess.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry import trace
from opentelemetry.trace import Tracer

from guqiao.consensus.v1 import consensus_events_pb2
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.client.events import BLOCK_TOPIC
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import TOO_LOW, Restart
from guqiao_sdk.proof.restart_rules import verify_restart
from services.chassis.bus.consumer import NO_SPANS, subscribe
from services.chassis.bus.port import Bus, BusEvent, PoisonError, TransientError
from services.chassis.postgres import Connection, Pool, migrate

MIGRATIONS: Final = Path(__file__).parent / "migrations"

Apply = Callable[[Connection, VerifiedBlock], Awaitable[None]]


async def migrate_follower(connection: Connection) -> None:
    """Bring the table of positions up to date."""
    await migrate(connection, "block_feed", MIGRATIONS)


async def follow_blocks(
    bus: Bus,
    pool: Pool,
    *,
    group: str,
    trust: ChainTrust,
    verify: Verify,
    apply: Apply,
    tracer: Tracer = NO_SPANS,
) -> None:
    """Apply every certified block of the chain, in order, until cancelled. A span a block."""

    async def handle(connection: Connection, event: BusEvent) -> None:
        block = await _verified(connection, event, trust, verify)
        if block is not None and await _is_next(connection, block):
            trace.get_current_span().set_attributes(
                {"chain": block.header.chain_id, "height": block.height}
            )
            await apply(connection, block)
            await _advance(connection, block)

    await subscribe(
        bus, group=group, topics=[BLOCK_TOPIC], pool=pool, handler=handle, tracer=tracer
    )


async def projected_height(connection: Connection, chain_id: str) -> int:
    """The height up to which this database follows the chain; 0 before the first block."""
    height = await connection.fetchval(
        "SELECT height FROM projected_blocks WHERE chain_id = $1", chain_id
    )
    return int(height or 0)


async def _verified(
    connection: Connection, event: BusEvent, trust: ChainTrust, verify: Verify
) -> VerifiedBlock | None:
    try:
        message = consensus_events_pb2.BlockCertified.FromString(event.payload)
    except DecodeError as error:
        raise PoisonError(f"{event.event_id} is no BlockCertified") from error
    if message.chain_id != trust.chain_id:
        return None
    try:
        header = BlockHeader.decode(message.block.certified_header.header)
        for encoded in message.block.restarts:
            await _follow_restart(connection, trust, Restart.decode(encoded), verify)
        replica_set = await _set_of(connection, trust, header)
        return verify_block(message.block, replica_set, verify)
    except (ProofError, MalformedError) as error:
        raise PoisonError(f"{event.event_id}: {error}") from error


async def _set_of(connection: Connection, trust: ChainTrust, header: BlockHeader) -> ReplicaSet:
    """The set of its epoch: the trusted one, or one that a block applied before has named."""
    epoch, height = header.epoch, await projected_height(connection, trust.chain_id)
    latest = await connection.fetchval(
        "SELECT max(epoch) FROM followed_sets WHERE chain_id = $1", trust.chain_id
    )
    if latest is not None and epoch < latest and header.height > height:
        raise ProofError(f"block {header.height}", f"epoch {epoch} ended below it")
    if epoch == trust.replica_set.epoch:
        return trust.replica_set
    encoded = await connection.fetchval(
        "SELECT replica_set FROM followed_sets WHERE chain_id = $1 AND epoch = $2",
        trust.chain_id,
        epoch,
    )
    if encoded is not None:
        return ReplicaSet.decode(encoded)
    if header.height > height + 1:
        raise TransientError(f"block {header.height} came, {height + 1} was due")
    raise ProofError(f"block {header.height}", f"no block before it names a set of epoch {epoch}")


async def _follow_restart(
    connection: Connection, trust: ChainTrust, restart: Restart, verify: Verify
) -> None:
    """Take the set of a restart that holds, once; raises `ProofError` where it does not.

    Whoever starts from a trust in a later epoch need not judge how that one began.
    """
    statement, chain_id = restart.statement, trust.chain_id
    latest = await connection.fetchrow(
        "SELECT epoch, replica_set FROM followed_sets WHERE chain_id = $1"
        " ORDER BY epoch DESC LIMIT 1",
        chain_id,
    )
    present = trust.replica_set if latest is None else ReplicaSet.decode(latest["replica_set"])
    if statement.epoch <= max(present.epoch, trust.replica_set.epoch):
        return
    row = await connection.fetchrow(
        "SELECT height, header_hash FROM projected_blocks WHERE chain_id = $1", chain_id
    )
    height = int(row["height"]) if row is not None else 0
    if height < statement.height:
        raise TransientError(f"block {statement.height + 1} came, {height + 1} was due")
    verify_restart(
        restart,
        genesis_hash=trust.genesis_hash,
        authorities=trust.authorities,
        old_set=present,
        known_header_hash=row["header_hash"] if row and height == statement.height else None,
        # The newest set that is known here is named by the last block, or began behind it.
        restarted_here=statement.header.next_set_hash != present.hash(),
        verify=verify,
    )
    if height > statement.height:
        raise ProofError(
            f"restart in epoch {statement.epoch}", f"block {height} is final above it", TOO_LOW
        )
    await _keep_set(connection, statement.new_set)


async def _is_next(connection: Connection, block: VerifiedBlock) -> bool:
    row = await connection.fetchrow(
        "SELECT height, header_hash FROM projected_blocks WHERE chain_id = $1 FOR UPDATE",
        block.header.chain_id,
    )
    height = int(row["height"]) if row is not None else 0
    if block.height <= height:
        return False
    if block.height > height + 1:
        raise TransientError(f"block {block.height} came, {height + 1} was due")
    if row is not None and block.header.parent != row["header_hash"]:
        raise PoisonError(f"block {block.height} does not follow the block applied before it")
    return True


async def _advance(connection: Connection, block: VerifiedBlock) -> None:
    await connection.execute(
        """
        INSERT INTO projected_blocks (chain_id, height, header_hash) VALUES ($1, $2, $3)
        ON CONFLICT (chain_id) DO UPDATE
            SET height = excluded.height, header_hash = excluded.header_hash
        """,
        block.header.chain_id,
        block.height,
        block.header.hash(),
    )
    if block.next_set is not None:
        await _keep_set(connection, block.next_set)


async def _keep_set(connection: Connection, replica_set: ReplicaSet) -> None:
    await connection.execute(
        "INSERT INTO followed_sets (chain_id, epoch, replica_set) VALUES ($1, $2, $3)",
        replica_set.chain_id,
        replica_set.epoch,
        replica_set.encode(),
    )
