"""A tiny service on a real guarded server in this process, and clients that sign with real SM2
keys.

The messages are plain bytes; the methods echo, fail, stream or hang as a test needs. Nothing is
mocked but the clock and the key directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guqiao_sdk.gm.provider import GmProvider, PrivateKey, open_provider
from guqiao_sdk.signing import RequestSigner, system_time_ms
from services.chassis.errors import NotFoundError
from services.chassis.grpc_server import (
    GrpcServer,
    Policy,
    ServerLimits,
    StreamItems,
    build_server,
    caller,
)
from services.chassis.grpc_server.ports import AuditRecord, KeyRecord
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry import Telemetry, open_telemetry

DOMAIN: Final = "shandong"
SERVICE: Final = "registry"
DID: Final = "did:rem:shandong:SD000001"
KEY_ID: Final = "sign-1"
ORGANISATION: Final = "91370199MA9900001C"
NAME: Final = "guqiao.test.v1.TestService"
DAY_MS: Final = 86_400_000


def path(method: str) -> str:
    """The full name of a method of the test service."""
    return f"/{NAME}/{method}"


@dataclass
class Keys:
    """A key directory in memory."""

    records: dict[tuple[str, str], KeyRecord] = field(default_factory=dict)

    async def find(self, did: str, key_id: str) -> KeyRecord | None:
        return self.records.get((did, key_id))


@dataclass
class Nonces:
    """A nonce store in memory, for tests that are about something else."""

    seen: set[tuple[str, str]] = field(default_factory=set)

    async def remember(self, did: str, nonce: str, expires_at_ms: int) -> bool:
        if (did, nonce) in self.seen:
            return False
        self.seen.add((did, nonce))
        return True


@dataclass
class Audit:
    """Keeps audit records, or fails when told to."""

    records: list[AuditRecord] = field(default_factory=list)
    broken: bool = False

    async def record(self, record: AuditRecord) -> None:
        if self.broken:
            raise OSError("no space left on device")
        self.records.append(record)


def _refusing(message: object) -> bytes:
    raise TypeError(f"cannot serialize the canary {message}")


class TestService:
    """The handlers. `entered` and `left` let a test see how far a call came."""

    __test__ = False

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.behaviour: Callable[[bytes, object], Awaitable[bytes]] = self.echo

    async def flexible(self, request: bytes, context: object) -> bytes:
        return await self.behaviour(request, context)

    async def echo(self, request: bytes, context: object) -> bytes:
        return f"{caller().did}:".encode() + request

    async def size(self, request: bytes, context: object) -> bytes:
        return str(len(request)).encode()

    async def fail(self, request: bytes, context: object) -> bytes:
        raise NotFoundError("TRANSACTION_UNKNOWN", transaction_id=request.decode())

    async def bug(self, request: bytes, context: object) -> bytes:
        raise KeyError("SELECT secret FROM accounts -- /srv/guqiao/canary.py")

    async def hang(self, request: bytes, context: object) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return b""

    async def count(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def gather(self, requests: AsyncIterator[bytes], context: object) -> bytes:
        return b",".join([item async for item in requests])

    async def mirror(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for item in requests:
            yield item[::-1]

    def handlers(self) -> dict[str, Any]:
        one, out = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        many, both = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return {
            "Echo": one(self.echo),
            "EchoText": one(self.echo_text, lambda raw: raw.decode("ascii"), str.encode),
            "Unserializable": one(self.unserializable, None, _refusing),
            "Write": out(self.write, None, lambda number: str(number).encode()),
            "Restricted": one(self.echo),
            "Fit": one(self.size),
            "Flexible": one(self.flexible),
            "Fail": one(self.fail),
            "Bug": one(self.bug),
            "Hang": one(self.hang),
            "Count": out(self.count),
            "Gather": many(self.gather),
            "GatherSigned": many(self.gather),
            "Mirror": both(self.mirror),
        }

    async def unserializable(self, request: bytes, context: object) -> object:
        return {"canary": 1}

    async def write(self, request: bytes, context: Any) -> None:
        for number in range(int(request)):
            await context.write(number)

    async def echo_text(self, request: str, context: object) -> str:
        return request.upper()


OPERATOR: Final = Policy.of("operator_maker")
POLICIES: Final = {
    path("Echo"): OPERATOR,
    path("EchoText"): OPERATOR,
    path("Unserializable"): OPERATOR,
    path("Write"): OPERATOR,
    path("Fit"): OPERATOR,
    path("Flexible"): OPERATOR,
    path("Restricted"): Policy.of("csrc_tech"),
    path("Fail"): OPERATOR,
    path("Bug"): OPERATOR,
    path("Hang"): OPERATOR,
    path("Count"): OPERATOR,
    path("Gather"): Policy.of("operator_maker", stream_items=StreamItems.TRANSACTIONS),
    path("GatherSigned"): Policy.of("operator_maker", stream_items=StreamItems.SIGNED),
    path("Mirror"): Policy.of("operator_maker", stream_items=StreamItems.SIGNED),
}
SIGNED_STREAMS: Final = (path("GatherSigned"), path("Mirror"))


@dataclass
class World:
    """One running server and what belongs to it."""

    provider: GmProvider
    private: PrivateKey
    keys: Keys
    audit: Audit
    service: TestService
    spans: InMemorySpanExporter
    telemetry: Telemetry
    server: GrpcServer
    target: str

    def signer(self, **changes: Any) -> RequestSigner:
        """The operator's signer, with single properties spoilt as a test wants."""
        values: dict[str, Any] = {
            "did": DID,
            "key_id": KEY_ID,
            "private": self.private,
            "provider": self.provider,
            "domain": DOMAIN,
            "service": SERVICE,
        }
        return RequestSigner(**{**values, **changes})


def key_record(private: PrivateKey, **changes: Any) -> KeyRecord:
    """The operator's registered key, with single properties spoilt as a test wants."""
    now = system_time_ms()
    values: dict[str, Any] = {
        "public_key": private.public_key,
        "organisation": ORGANISATION,
        "roles": frozenset({"operator_maker"}),
        "not_before_ms": now - DAY_MS,
        "not_after_ms": now + DAY_MS,
        "revoked": False,
    }
    return KeyRecord(**{**values, **changes})


@asynccontextmanager
async def serving(
    *,
    nonces: Any = None,
    limits: ServerLimits | None = None,
    world_keys: tuple[GmProvider, PrivateKey] | None = None,
    address: str = "127.0.0.1:0",
    **options: Any,
) -> AsyncIterator[World]:
    """Run the test service on a port of its own until the block ends."""
    provider = world_keys[0] if world_keys else open_provider()
    private = world_keys[1] if world_keys else provider.keygen()
    keys = Keys({(DID, KEY_ID): key_record(private)})
    audit, service, spans = Audit(), TestService(), InMemorySpanExporter()
    telemetry = open_telemetry(
        TelemetrySettings(), domain=DOMAIN, service=SERVICE, exporters=[spans]
    )
    server = build_server(
        domain=DOMAIN,
        service=SERVICE,
        policies=POLICIES,
        keys=keys,
        nonces=nonces if nonces is not None else Nonces(),
        verifier=provider,
        telemetry=telemetry,
        audit=audit,
        limits=limits,
        **options,
    )
    server.add_registered_method_handlers(NAME, service.handlers())
    port = server.add_insecure_port(address)
    target = address if address.startswith("unix:") else f"127.0.0.1:{port}"
    await server.start()
    try:
        yield World(provider, private, keys, audit, service, spans, telemetry, server, target)
    finally:
        await server.stop(0)
        telemetry.shutdown()


def raw_channel(target: str) -> Any:
    """A plain channel for bytes; untyped, because it belongs to no generated stub."""
    return grpc.aio.insecure_channel(target)


async def send(
    target: str,
    method: str,
    message: bytes,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
    timeout: float | None = 10,  # noqa: ASYNC109 - gRPC's own deadline is what is tested
) -> bytes:
    """Send exactly these bytes with exactly this metadata: what a client of one's own could do."""
    async with raw_channel(target) as channel:
        answer: bytes = await channel.unary_unary(method)(
            message, metadata=metadata, timeout=timeout
        )
        return answer


def signed(
    world: World, method: str, message: bytes, **changes: Any
) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata that signs `message` for `method`."""
    signer = world.signer(**changes)
    return signer.metadata(method, message, signer.stamp())


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The rich status that a failed call carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"no status details: {error.code()} {error.details()}")


def code_of(error: grpc.aio.AioRpcError) -> str:
    """The symbolic code of a failed call."""
    for detail in status_of(error).details:
        if detail.TypeName() == "google.rpc.ErrorInfo":
            return error_details_pb2.ErrorInfo.FromString(detail.value).reason
    raise AssertionError("the status carries no ErrorInfo")
