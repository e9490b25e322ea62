"""Recorded bytes of each bus event decode in each consumer and leave the rows that they should."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from guqiao.consensus.v1 import consensus_events_pb2
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.proof.errors import ProofError
from services.chassis.bus.port import BusEvent
from services.chassis.postgres import Connection, DatabaseOwner, open_pool
from services.chassis.runtime import prepare_database
from services.enablement import app as enablement
from services.enablement.consumers import apply_block as apply_to_enablement
from services.gateway import app as gateway
from services.gateway.consumers import OPERATION_TOPIC, note_trace
from services.gateway.consumers import apply_block as apply_to_gateway
from services.registry import app as registry
from services.registry import events as registry_events
from services.registry.consumers import apply_block as apply_to_registry
from services.reporting import app as reporting
from services.reporting.consumers import apply_block as apply_to_reporting
from tests.contract.recordings import FOLDER
from tests.plugins.postgres import NewDatabase, new_database, postgres_server, spare_databases
from tests.unit.proof.proof_keys import FakeKeys, Replicas

__all__ = ["new_database", "postgres_server", "spare_databases"]

Apply = Callable[[Connection, VerifiedBlock], Awaitable[None]]
CHAINS = {"market": "shandong", "link": "shandong", "regulator": "csrc"}
KEYS = FakeKeys()


def blocks(name: str) -> Iterator[VerifiedBlock]:
    """The recorded blocks of one chain, decoded and verified."""
    content = (FOLDER / f"consensus.block.v1.{name}.bin").read_bytes()
    replica_set = Replicas(KEYS, CHAINS[name]).set
    while content:
        size = int.from_bytes(content[:4], "big")
        message = consensus_events_pb2.BlockCertified.FromString(content[4 : 4 + size])
        content = content[4 + size :]
        assert message.chain_id == CHAINS[name]
        block = verify_block(message.block, replica_set, KEYS.verify)
        assert message.height == block.height
        yield block


def owner(service: str, chain_id: str) -> DatabaseOwner:
    """Whose database it is; the recordings have no genesis."""
    return DatabaseOwner(service, chain_id, bytes(32))


async def rows_after(
    new_database: NewDatabase, service: str, migrations: Path, apply: Apply, name: str, table: str
) -> int:
    """How many rows a consumer makes of a recording."""
    async with open_pool(await new_database()) as pool:
        await prepare_database(pool, owner(service, CHAINS[name]), migrations)
        for block in blocks(name):
            async with pool.acquire() as connection, connection.transaction():
                await apply(connection, block)
        found = await pool.fetchval(f"SELECT count(*) FROM {table}")
        assert isinstance(found, int)
        return found


@pytest.mark.parametrize(
    ("service", "migrations", "apply", "name", "table", "rows"),
    [
        ("registry", registry.MIGRATIONS, apply_to_registry, "market", "operations", 18),
        ("registry", registry.MIGRATIONS, apply_to_registry, "regulator", "operations", 0),
        ("gateway", gateway.MIGRATIONS, apply_to_gateway, "link", "packets_sent", 2),
        ("gateway", gateway.MIGRATIONS, apply_to_gateway, "regulator", "packets_received", 2),
        ("reporting", reporting.MIGRATIONS, apply_to_reporting, "link", "data_objects", 2),
        ("reporting", reporting.MIGRATIONS, apply_to_reporting, "regulator", "data_objects", 2),
        ("enablement", enablement.MIGRATIONS, apply_to_enablement, "regulator", "services", 1),
        ("enablement", enablement.MIGRATIONS, apply_to_enablement, "market", "services", 0),
    ],
)
async def test_recorded_blocks_decode_in_every_consumer(
    new_database: NewDatabase,
    service: str,
    migrations: Path,
    apply: Apply,
    name: str,
    table: str,
    rows: int,
) -> None:
    assert await rows_after(new_database, service, migrations, apply, name, table) == rows


async def test_the_recorded_operation_is_read_by_the_gateway(new_database: NewDatabase) -> None:
    facts = json.loads((FOLDER / "registry.operation.v1.json").read_text())
    payload = (FOLDER / "registry.operation.v1.bin").read_bytes()
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    headers = {"event-id": facts["event_id"], "traceparent": traceparent}
    event = BusEvent(facts["topic"], facts["key"], payload, headers)
    async with open_pool(await new_database()) as pool:
        await prepare_database(pool, owner("gateway", CHAINS["market"]), gateway.MIGRATIONS)
        async with pool.acquire() as connection:
            await note_trace(connection, event)
            await note_trace(connection, event)
            await note_trace(connection, BusEvent(event.topic, event.key, b"x", {}))
        found = await pool.fetch("SELECT transaction_id, traceparent FROM operation_traces")
    assert [(row["transaction_id"], row["traceparent"]) for row in found] == [
        (payload, traceparent)
    ]


def test_what_the_registry_announces_is_what_was_recorded() -> None:
    facts = json.loads((FOLDER / "registry.operation.v1.json").read_text())
    made = registry_events.operation_submitted(bytes(range(32)))
    assert (made.topic, made.key, made.event_id) == (
        facts["topic"],
        facts["key"],
        facts["event_id"],
    )
    assert made.payload == (FOLDER / "registry.operation.v1.bin").read_bytes()
    assert registry_events.OPERATION_TOPIC == OPERATION_TOPIC, "one name on both sides"


@pytest.mark.parametrize("name", list(CHAINS))
def test_a_recording_with_one_byte_changed_is_refused(name: str) -> None:
    """The recordings are certified blocks: what follows verifies them too."""
    content = (FOLDER / f"consensus.block.v1.{name}.bin").read_bytes()
    size = int.from_bytes(content[:4], "big")
    message = consensus_events_pb2.BlockCertified.FromString(content[4 : 4 + size])
    message.block.batch = message.block.batch[:-1] + bytes([message.block.batch[-1] ^ 1])
    with pytest.raises(ProofError):
        verify_block(message.block, Replicas(KEYS, CHAINS[name]).set, KEYS.verify)
