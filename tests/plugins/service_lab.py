"""A service of a domain put together for a test: real PostgreSQL, real guarded gRPC server, and a
chain that is a `LedgerNode`.

A lab is what `app.py` and `open_runtime` make of the settings, less the process around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from google.rpc import status_pb2
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.errors import error_from_status
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.signing import RequestSigner
from services.chassis.bus.settings import PostgresBusSettings, open_bus
from services.chassis.postgres import Connection, DatabaseOwner, Pool, PostgresSettings, open_pool
from services.chassis.runtime import (
    ChainServiceSettings,
    ChainSettings,
    Runtime,
    prepare_database,
)
from services.chassis.settings import IdentitySettings, TelemetrySettings
from services.chassis.telemetry import open_telemetry
from tests.plugins.ledger_node import LedgerNode
from tests.plugins.postgres import NewDatabase

Apply = Callable[[Connection, VerifiedBlock], Awaitable[None]]


@dataclass
class Lab:
    """A runtime over a chain, with the spans that it recorded."""

    runtime: Runtime
    node: LedgerNode
    spans: InMemorySpanExporter
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def pool(self) -> Pool:
        return self.runtime.pool

    @property
    def provider(self) -> GmProvider:
        return self.runtime.provider

    def block(self, height: int) -> VerifiedBlock:
        """A verified block of the chain."""
        chain = self.node.chain
        later = [change.replica_set for change in chain.set_changes]
        sets = {each.epoch: each for each in (self.node.trust.replica_set, *later)}
        replica_set = sets[chain.blocks[height].header.epoch]
        return verify_block(chain.block_message(height), replica_set, self.provider.verify)

    async def project(self, apply: Apply, heights: Sequence[int] | None = None) -> None:
        """Apply blocks as a follower does, and note the height in the same transaction."""
        for height in self.node.chain.blocks if heights is None else heights:
            block = self.block(height)
            async with self.pool.acquire() as connection, connection.transaction():
                await apply(connection, block)
                await connection.execute(
                    """
                    INSERT INTO projected_blocks (chain_id, height, header_hash)
                    VALUES ($1, $2, $3)
                    ON CONFLICT (chain_id) DO UPDATE
                        SET height = excluded.height, header_hash = excluded.header_hash
                    """,
                    block.header.chain_id,
                    block.height,
                    block.header.hash(),
                )

    async def rows(self, table: str, order: str) -> list[dict[str, Any]]:
        """Everything in a table."""
        found = await self.pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")
        return [dict(row) for row in found]

    @asynccontextmanager
    async def serving(
        self,
        policies: Any,
        add_to_server: Callable[[Any, Any], None],
        servicer: object,
        peers: Any = None,
    ) -> AsyncIterator[int]:
        """The service's guarded gRPC server on a loopback port."""
        server = self.runtime.build_server(policies, peers)
        add_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(0)

    def channel(self, port: int, caller: Identity) -> grpc.aio.Channel:
        """A signed channel to the service."""
        settings = self.runtime.settings
        signer = RequestSigner(
            caller.did,
            caller.key_id,
            caller.private_key,
            self.provider,
            settings.domain,
            self.runtime.service,
        )
        channel = open_channel(f"127.0.0.1:{port}", signer)
        self.channels.append(channel)  # A channel that nobody holds closes.
        return channel


@asynccontextmanager
async def open_lab(
    new_database: NewDatabase,
    node: LedgerNode,
    signer: Identity,
    provider: GmProvider,
    *,
    service: str,
    migrations: Path | None,
    bus_database: PostgresSettings | None = None,
) -> AsyncIterator[Lab]:
    """Tables brought up to date, bus and client open."""
    database = await new_database()
    bus_settings = PostgresBusSettings(database=bus_database or await new_database())
    chain_id = node.chain.header.chain_id
    settings = ChainServiceSettings(
        domain=chain_id,
        development=True,
        identity=IdentitySettings(
            did=signer.did,
            key_id=signer.key_id,
            organisation=signer.organisation,
            key_file=Path("unused"),
        ),
        chain=ChainSettings(
            chain_id=chain_id, trust_file=Path("unused"), endpoints=(f"127.0.0.1:{node.port}",)
        ),
        postgres=database,
        bus=bus_settings,
    )
    spans = InMemorySpanExporter()
    telemetry = open_telemetry(
        TelemetrySettings(), domain=chain_id, service=service, exporters=[spans]
    )
    async with (
        open_pool(database) as pool,
        open_bus(bus_settings) as bus,
        node.client(provider, signer) as client,
    ):
        owner = DatabaseOwner(service, chain_id, node.trust.genesis_hash)
        await prepare_database(pool, owner, migrations)
        runtime = Runtime(service, settings, provider, signer, client, pool, bus, telemetry)
        lab = Lab(runtime, node, spans)
        try:
            yield lab
        finally:
            for channel in lab.channels:
                await channel.close()
    telemetry.shutdown()


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """The gRPC status and the code with which a call is refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                assert isinstance(value, bytes)
                return error.code(), error_from_status(status_pb2.Status.FromString(value)).code
        return error.code(), ""
    raise AssertionError("the call was not refused")


async def wait_until(
    what: str, condition: Callable[[], Awaitable[bool]], seconds: float = 180.0
) -> None:
    """Wait for a condition; the bound is far beyond what it takes."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - the condition is remote
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s in vain: {what}") from None
