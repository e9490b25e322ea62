"""The door of the regulator's gateway, for one call that it has to refuse: who made it, what the
trail has to say of it, and everything that the gateway and its chain keep before and after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import grpc.aio
import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from guqiao_sdk.client.keys import ChainKeyDirectory
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.signing import RequestSigner, system_time_ms
from services.chassis.grpc_server import build_server
from services.chassis.grpc_server.nonces_postgres import PostgresNonceStore
from services.chassis.grpc_server.ports import Decision, KeyRecord
from services.gateway.api import POLICIES, GatewayServicer
from tests.plugins.ledger_node import identity_of
from tests.plugins.link_lab import KEYS, PEER, Audited, LinkLab
from tests.plugins.service_lab import refusal

SERVICE: Final = "/guqiao.gateway.v1.GatewayService"
GET_LINK: Final = f"{SERVICE}/GetLink"
FETCH: Final = f"{SERVICE}/FetchCalls"
UNKNOWN: Final = "unknown"
LINK_ASKED: Final = pb.GetLinkRequest(remote_chain_id="shandong").SerializeToString()
FETCH_ASKED: Final = pb.FetchCallsRequest(chain_id="shandong").SerializeToString()
OPERATOR: Final = "did:rem:csrc:91370000MA0000000X"
FORGOTTEN: Final = ("request_nonces", "bus_positions")
"""What a call that is let through or refused may leave in the database: its nonce, so that it
cannot come again; and where the bus's reader stands, which no call moves.
"""

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the trail says of a refused call: who is claimed or proven, and what was asked. Where
    `decision` is None the trail is not told.
    """

    method: str
    message: bytes
    did: str
    organisation: str
    decision: Decision | None = Decision.REFUSED
    counted_for: str = ""
    """In the metric, where it is not for the organisation."""

    is_counted: bool = True

    @property
    def digest(self) -> str:
        return sm3(self.message).hex()

    @property
    def label(self) -> str:
        return self.counted_for or self.organisation or UNKNOWN


def unproven(method: str, message: bytes = LINK_ASKED, did: str = "", **more: Any) -> Expected:
    """Nobody is named: the DID is what the call claims."""
    return Expected(method, message, did, "", **more)


def proven(method: str, message: bytes, did: str, **more: Any) -> Expected:
    """The signature held, so the organisation is known; here it has the same name as the DID."""
    return Expected(method, message, did, did, **more)


def ended(method: str, message: bytes, did: str = OPERATOR, **more: Any) -> Expected:
    """It was let through, and refused by the service."""
    return Expected(method, message, did, did, Decision.ENDED, **more)


@dataclass
class Door:
    """The regulator's server for one case, and everything behind it."""

    link: LinkLab
    monkeypatch: pytest.MonkeyPatch
    servicer: GatewayServicer
    audit: Audited = field(default_factory=Audited)
    port: int = 0
    before: Mapping[str, Any] | None = None
    _channel: Any = None

    @property
    def channel(self) -> Any:
        """One connection for the whole case, so that it is one source."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        return self._channel

    def signed(
        self, method: str, message: bytes, did: str = OPERATOR, *, late_ms: int = 0
    ) -> Metadata:
        caller = identity_of(self.link.regulator.node.chain, KEYS, did)
        signer = RequestSigner(
            caller.did,
            caller.key_id,
            caller.private_key,
            KEYS.provider,
            "csrc",
            "gateway",
            lambda: system_time_ms() - late_ms,
        )
        return signer.metadata(method, message, signer.stamp())

    async def note(self) -> None:
        """Everything as it stands: from here on nothing may change."""
        self.before = await self.everything()

    async def everything(self) -> dict[str, Any]:
        """The rows of the gateway's database, what is on its bus, and the state of its chain but
        for what the ledger keeps of each transaction and what a true header tells the light client.
        """
        lab = self.link.regulator
        found: dict[str, Any] = {}
        async with lab.pool.acquire() as connection:
            for table in await _tables(connection):
                rows = await connection.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")
                found[table] = [row[0] for row in rows]
        for key, value in lab.node.chain.state.values.items():
            if not key.startswith((b"ledger/", b"light_client/")):
                found[key.decode()] = value
        return found

    async def ask(self, method: str, message: bytes, metadata: Metadata) -> str:
        """The code with which a call is refused; a stream counts as refused where it ends so."""
        if method != FETCH:
            call = self.channel.unary_unary(method)(message, metadata=metadata)
            return (await refusal(call))[1]
        stream = self.channel.unary_stream(method)(message, metadata=metadata)
        return (await refusal(read(stream)))[1]

    async def ask_as(self, method: str, message: bytes, did: str = OPERATOR) -> str:
        """The same, with a signature that holds."""
        return await self.ask(method, message, self.signed(method, message, did))

    async def answered(self, method: str, message: bytes, metadata: Metadata) -> None:
        """A call that is let through and answered."""
        await self.channel.unary_unary(method)(message, metadata=metadata)

    @asynccontextmanager
    async def standing(self, did: str = PEER) -> AsyncIterator[None]:
        """A stream of a gateway that fetches stands inside the block."""
        stream = self.channel.unary_stream(FETCH)(
            FETCH_ASKED, metadata=self.signed(FETCH, FETCH_ASKED, did)
        )
        await stream.read()
        try:
            yield
        finally:
            stream.cancel()


async def read(stream: Any) -> None:
    """What a stream brings, to its end."""
    async for _ in stream:
        pass


async def _tables(connection: Any) -> list[str]:
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    names = {row["table_name"] for row in rows}
    assert {"packets_sent", "packets_received", "outbox", "request_nonces"} <= names
    return sorted(names.difference(FORGOTTEN))


class KeysWith:
    """The chain's keys, each with single properties spoilt."""

    def __init__(self, link: LinkLab, **changes: Any) -> None:
        self._real = ChainKeyDirectory(link.regulator.runtime.client, KeyRecord)
        self._changes = changes

    async def find(self, did: str, key_id: str) -> KeyRecord | None:
        found = await self._real.find(did, key_id)
        return None if found is None else replace(found, **self._changes)


@dataclass
class Behind:
    """Of which organisation every connection is; none is known where it is None."""

    organisation: str | None

    async def organisation_of(self, source_port: int) -> str | None:
        return self.organisation


Options = Mapping[str, Any]
Provoke = Callable[[Door], Awaitable[tuple[str, Expected]]]


@dataclass(frozen=True, slots=True)
class Case:
    """A call that has to be refused with `code`: `provoke` makes it at a door with `options`."""

    code: str
    name: str
    provoke: Provoke
    options: Callable[[LinkLab], Awaitable[Options] | Options] = lambda _link: {}

    async def options_at(self, link: LinkLab) -> Options:
        """What its door has to be like."""
        chosen = self.options(link)
        return await chosen if isinstance(chosen, Awaitable) else chosen


@asynccontextmanager
async def at_door(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> AsyncIterator[Door]:
    """The server of the regulator's gateway with the options of `build_server` changed, and, as
    `behaviour`, methods of the servicer.
    """
    lab = link.regulator
    servicer = GatewayServicer(
        link.regulator_handlers, lambda chain: "", {link.fetched.chain_id: link.fetched}
    )
    door = Door(link, monkeypatch, servicer)
    options: dict[str, Any] = {
        "policies": POLICIES,
        "keys": KeysWith(link),
        "nonces": PostgresNonceStore(lab.pool),
        **changes,
    }
    for method, behaviour in options.pop("behaviour", {}).items():
        setattr(servicer, method, behaviour)
    server = build_server(
        domain="csrc",
        service="gateway",
        verifier=KEYS.provider,
        telemetry=lab.runtime.telemetry,
        audit=door.audit,
        **options,
    )
    add_GatewayServiceServicer_to_server(servicer, server)
    door.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield door
    finally:
        await door.channel.close()
        await server.stop(0)
