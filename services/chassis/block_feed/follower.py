"""Follows the certified blocks of one chain and applies each exactly once in effect (reliability
D4).

The block's rows and its position commit together, and only the block that is next is taken. One at
or below the projected height came before and is ignored; one above the next is passed over, since
whoever writes to the bus could put it there; the feed brings it again. What claims to be next and
is not certified is set aside. A certified one is never given up: the projection waits until it can
be applied. `FeedState` says what is missing or cannot be applied; rows are never made from a guess.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
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
from guqiao_sdk.rules import messages
from services.chassis.bus.consumer import NO_SPANS, subscribe
from services.chassis.bus.port import Bus, BusEvent, PoisonError, TransientError
from services.chassis.bus.transient import is_transient
from services.chassis.postgres import Connection, Pool, migrate

STUCK: Final = "PROJECTION_STUCK"
MIGRATIONS: Final = Path(__file__).parent / "migrations"

Apply = Callable[[Connection, VerifiedBlock], Awaitable[None]]
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class FeedState:
    """How one projection gets on: why it does not, as far as that lies with the feed."""

    stuck: str = ""

    async def check(self) -> str | None:
        """What /readyz says of it."""
        return f"{STUCK}: {messages(STUCK).en} ({self.stuck})" if self.stuck else None


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
    state: FeedState,
    tracer: Tracer = NO_SPANS,
) -> None:
    """Apply every certified block of the chain, in order, until cancelled. A span a block."""

    async def handle(connection: Connection, event: BusEvent) -> None:
        message = _parsed(event, trust.chain_id)
        if message is None or not await _is_next(connection, message, state):
            return
        block = await _verified(connection, message, trust, verify)
        trace.get_current_span().set_attributes(
            {"chain": block.header.chain_id, "height": block.height}
        )
        try:
            await apply(connection, block)
            await _advance(connection, block)
        except Exception as error:
            if is_transient(error):
                raise
            # It is certified and next: everything behind it waits for it, so it is not set aside.
            state.stuck = f"block {block.height} cannot be applied ({type(error).__name__})"
            log.exception("projection.stuck", group=group, height=block.height)
            raise TransientError(state.stuck) from error
        state.stuck = ""

    await subscribe(
        bus,
        group=group,
        topics=[BLOCK_TOPIC],
        pool=pool,
        handler=handle,
        tracer=tracer,
        remembers_ids=False,
    )


async def projected_height(connection: Connection, chain_id: str) -> int:
    """The height up to which this database follows the chain; 0 before the first block."""
    height = await connection.fetchval(
        "SELECT height FROM projected_blocks WHERE chain_id = $1", chain_id
    )
    return int(height or 0)


def _parsed(event: BusEvent, chain_id: str) -> consensus_events_pb2.BlockCertified | None:
    """What the event says, or None where it concerns another chain."""
    try:
        message = consensus_events_pb2.BlockCertified.FromString(event.payload)
    except DecodeError as error:
        raise PoisonError(f"{event.event_id} is no BlockCertified") from error
    return message if message.chain_id == chain_id else None


async def _is_next(
    connection: Connection, message: consensus_events_pb2.BlockCertified, state: FeedState
) -> bool:
    due = await projected_height(connection, message.chain_id) + 1
    if message.height > due:
        state.stuck = f"block {message.height} came, {due} was due"
    return message.height == due


async def _verified(
    connection: Connection,
    message: consensus_events_pb2.BlockCertified,
    trust: ChainTrust,
    verify: Verify,
) -> VerifiedBlock:
    """The next block, certified and linked to the one before; raises `PoisonError`."""
    name = f"block {message.height}"
    try:
        for encoded in message.block.restarts:
            await _follow_restart(connection, trust, Restart.decode(encoded), verify)
        header = BlockHeader.decode(message.block.certified_header.header)
        if header.height != message.height:
            raise ProofError(name, f"its header is that of block {header.height}")
        block = verify_block(message.block, await _set_of(connection, trust, header), verify)
        parent = await connection.fetchval(
            "SELECT header_hash FROM projected_blocks WHERE chain_id = $1", trust.chain_id
        )
        if parent is not None and header.parent != parent:
            raise ProofError(name, "it does not follow the block applied before it")
    except (ProofError, MalformedError) as error:
        raise PoisonError(f"{name}: {error}") from error
    return block


async def _set_of(connection: Connection, trust: ChainTrust, header: BlockHeader) -> ReplicaSet:
    """The set of its epoch: the trusted one, or one that a block applied before has named."""
    epoch = header.epoch
    latest = await connection.fetchval(
        "SELECT max(epoch) FROM followed_sets WHERE chain_id = $1", trust.chain_id
    )
    if latest is not None and epoch < latest:
        raise ProofError(f"block {header.height}", f"epoch {epoch} ended below it")
    if epoch == trust.replica_set.epoch:
        return trust.replica_set
    encoded = await connection.fetchval(
        "SELECT replica_set FROM followed_sets WHERE chain_id = $1 AND epoch = $2",
        trust.chain_id,
        epoch,
    )
    if encoded is None:
        raise ProofError(
            f"block {header.height}", f"no block before it names a set of epoch {epoch}"
        )
    return ReplicaSet.decode(encoded)


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
    name = f"restart in epoch {statement.epoch}"
    if height < statement.height:
        raise ProofError(name, f"it begins above block {height + 1}")
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
        raise ProofError(name, f"block {height} is final above it", TOO_LOW)
    await _keep_set(connection, statement.new_set)


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
