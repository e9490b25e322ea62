"""Every method of every service meets requests that keep to protocol buffers, or abuse them
(reliability T-16): signed as they are, by somebody whose role lets them in wherever there is one.

Each is answered, or refused by its own code: nothing fails inside a service, and afterwards the
service answers as ever. Streams of requests are left out: each of their messages is signed by
itself, `tests/integration/node/test_overload.py` and `tests/integration/registry` send what cannot
be read on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from types import ModuleType
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from guqiao.consensus.v1 import node_service_pb2
from guqiao.enablement.v1 import enablement_service_pb2
from guqiao.gateway.v1 import gateway_service_pb2
from guqiao.registry.v1 import registry_service_pb2
from guqiao.reporting.v1 import reporting_service_pb2
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.errors import error_from_rpc
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.rules import catalogue
from guqiao_sdk.signing import RequestSigner
from guqiaoctl.network.clients import open_identity
from guqiaoctl.network.parties import CSRC, MARKET
from tests.end_to_end.market.conftest import Market
from tests.fuzz.mutations import of_wire
from tests.fuzz.shape import Shape

pytestmark = pytest.mark.end_to_end

REQUESTS: Final = 24
"""Of each method."""
DEEP_MAX: Final = 4
ANSWER_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 0.2
"""A stream of answers that has none yet is open: it was let in."""
WITHOUT_ROLE: Final = "ROLE_MISSING"
CALLERS: Final = {
    MARKET: (
        *((MARKET, name) for name in ("maker", "gateway", "admin", "institution", "checker")),
        (CSRC, "gateway"),
    ),
    CSRC: (
        *((CSRC, name) for name in ("supervisor", "gateway", "admin", "market", "tech")),
        *((MARKET, name) for name in ("publisher", "province", "gateway", "maker")),
    ),
}
"""The accounts that the chain of a domain knows, whose roles are asked one after the other."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service of a domain answers."""

    domain: str
    process: str
    audience: str
    module: ModuleType

    @property
    def methods(self) -> Iterator[tuple[str, MethodDescriptor]]:
        """Each with its path; without those that take a stream of requests."""
        for service in self.module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if not method.client_streaming:
                    yield f"/{service.full_name}/{method.name}", method


PLACES: Final = [
    Place(MARKET, f"{MARKET}-0", "consensus/0", node_service_pb2),
    Place(CSRC, f"{CSRC}-0", "consensus/0", node_service_pb2),
    Place(MARKET, f"{MARKET}-registry", "registry", registry_service_pb2),
    Place(MARKET, f"{MARKET}-gateway", "gateway", gateway_service_pb2),
    Place(CSRC, f"{CSRC}-gateway", "gateway", gateway_service_pb2),
    Place(MARKET, f"{MARKET}-reporting", "reporting", reporting_service_pb2),
    Place(CSRC, f"{CSRC}-reporting", "reporting", reporting_service_pb2),
    Place(CSRC, f"{CSRC}-enablement", "enablement", enablement_service_pb2),
]


def filled(descriptor: Descriptor, deep: int = 0) -> Message:
    """A request with something in every field, of no object that exists."""
    message: Any = GetMessageClass(descriptor)()
    chosen = set[str]()
    for field in descriptor.fields:
        if field.containing_oneof is not None:
            if field.containing_oneof.name in chosen:
                continue
            chosen.add(field.containing_oneof.name)
        if field.message_type is not None:
            if deep < DEEP_MAX and not field.message_type.GetOptions().map_entry:
                inner = filled(field.message_type, deep + 1)
                if field.is_repeated:
                    getattr(message, field.name).extend([inner, inner])
                else:
                    getattr(message, field.name).CopyFrom(inner)
        elif field.is_repeated:
            getattr(message, field.name).extend([_value(field), _value(field)])
        else:
            setattr(message, field.name, _value(field))
    built: Message = message
    return built


def _value(field: FieldDescriptor) -> object:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            is_bytes = field.type == FieldDescriptor.TYPE_BYTES
            return bytes(32) if is_bytes else "of-nobody"
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return 1.5
        case _:
            return 1


@dataclass(frozen=True, slots=True)
class Line:
    """A channel to a place, and who calls there."""

    place: Place
    channel: grpc.aio.Channel
    provider: GmProvider

    async def ask(self, path: str, method: MethodDescriptor, data: bytes, who: Identity) -> str:
        """The code of the refusal, or "" where it is answered."""
        place = self.place
        signer = RequestSigner(
            who.did, who.key_id, who.private_key, self.provider, place.domain, place.audience
        )
        metadata = signer.metadata(path, data, signer.stamp())
        try:
            if method.server_streaming:
                stream: Any = self.channel.unary_stream(path)
                await self._first(stream(data, metadata=metadata))
            else:
                unary: Any = self.channel.unary_unary(path)
                await unary(data, metadata=metadata, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error_from_rpc(error).code or f"{error.code().name}: {error.details()}"
        return ""

    async def _first(self, answers: Any) -> None:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await answers.read()
        except TimeoutError:
            pass
        finally:
            answers.cancel()

    async def whom_it_lets_in(
        self, path: str, method: MethodDescriptor, data: bytes, callers: Sequence[Identity]
    ) -> Identity:
        """The first whose role suffices; else the first of all."""
        for who in callers:
            if await self.ask(path, method, data, who) != WITHOUT_ROLE:
                return who
        return callers[0]


@pytest.mark.req("G2-13-2", "G2-15-1")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.process)
async def test_no_request_makes_a_service_fail(market: Market, place: Place) -> None:
    network, provider = market.machine.network, open_provider()
    callers = [open_identity(network, provider, *each) for each in CALLERS[place.domain]]
    known, refused = catalogue(), dict[str, int]()
    async with grpc.aio.insecure_channel(network.address(f"{place.process}.grpc")) as channel:
        line = Line(place, channel, provider)
        for path, method in place.methods:
            sample = filled(method.input_type).SerializeToString()
            who = await line.whom_it_lets_in(path, method, sample, callers)
            others = [Shape(sample, ())]
            for number in range(REQUESTS):
                random = Random(f"{path} {number}")
                data = of_wire(random, sample, others)
                code = await line.ask(path, method, data, who)
                assert not code or code in known, f"{path} {data.hex()}: {code}"
                assert code != "INTERNAL", f"{path} {data.hex()}"
                refused[code] = refused.get(code, 0) + 1
    assert refused.get("REQUEST_MALFORMED", 0) > 0, "some cannot be read"
    assert set(refused) - {"REQUEST_MALFORMED", WITHOUT_ROLE}, "some get further than the reader"
