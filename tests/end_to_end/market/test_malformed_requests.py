"""Every method of every service meets requests that keep to protocol buffers, or abuse them
(reliability T-16): signed as they are, by somebody whose role lets them in wherever there is one.

Each is answered, or refused by its own code: nothing fails inside a service, and afterwards the
service answers as ever. A stream of requests carries one: what ends a stream is told by its code
only to who does not go on writing.
GUQIAO_MALFORMED_REQUESTS in the environment asks for another number of requests of each method.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as member
from random import Random
from types import ModuleType
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from guqiao.consensus.v1 import node_service_pb2
from guqiao.enablement.v1 import enablement_service_pb2
from guqiao.gateway.v1 import gateway_service_pb2
from guqiao.registry.v1 import registry_service_pb2
from guqiao.reporting.v1 import reporting_service_pb2
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.errors import error_from_rpc, error_from_status
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.rules import catalogue
from guqiao_sdk.signing import STREAM_OPENING, RequestSigner
from guqiaoctl.network.clients import open_identity
from guqiaoctl.network.parties import CSRC, MARKET
from tests.end_to_end.market.conftest import Market
from tests.fuzz.mutations import of_wire
from tests.fuzz.shape import Shape

pytestmark = pytest.mark.end_to_end

REQUESTS: Final = int(os.environ.get("GUQIAO_MALFORMED_REQUESTS", "200"))
"""Of each method; T-16 asks for 2,000 at every change, 200,000 at a release."""
AT_ONCE: Final = 16
SHOWN_MAX: Final = 4_096
"""Characters of a request that a failure shows."""
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
        """Each with its path."""
        for service in self.module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
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
        metadata = self._metadata(path, data, who)
        try:
            if method.server_streaming:
                stream: Any = self.channel.unary_stream(path)
                await self._first(stream(data, metadata=metadata))
            else:
                unary: Any = self.channel.unary_unary(path)
                await unary(data, metadata=metadata, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            return _code(error)
        return ""

    async def converse(
        self, path: str, method: MethodDescriptor, messages: Sequence[bytes], who: Identity
    ) -> list[str]:
        """The codes of the answers, and last that by which the stream ended, "" where it ended
        well.
        """
        assert method.server_streaming, f"{path} gives one answer to a stream"
        opened: Any = self.channel.stream_stream(path)
        call = opened(metadata=self._metadata(path, STREAM_OPENING, who), timeout=ANSWER_SECONDS)
        answers = GetMessageClass(method.output_type)
        codes = list[str]()
        try:
            for message in messages:
                await call.write(message)
            # Where the last message has ended it, nothing is open: reading tells the code.
            with suppress(grpc.aio.InternalError, asyncio.InvalidStateError):
                await call.done_writing()
            while (raw := await call.read()) is not grpc.aio.EOF:
                codes += _answered(answers.FromString(raw))
            await call.code()
        except grpc.aio.AioRpcError as error:
            return [*codes, _code(error)]
        return [*codes, ""]

    def _metadata(self, path: str, data: bytes, who: Identity) -> Any:
        domain, audience = self.place.domain, self.place.audience
        signer = RequestSigner(
            who.did, who.key_id, who.private_key, self.provider, domain, audience
        )
        return signer.metadata(path, data, signer.stamp())

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


def _code(error: grpc.aio.AioRpcError) -> str:
    return error_from_rpc(error).code or f"{error.code().name}: {error.details()}"


def _answered(response: Any) -> Iterator[str]:
    """The codes of the answers in a message of a stream: it has several, or is one."""
    for answer in getattr(response, "answers", [response]):
        if answer.error:
            yield error_from_status(status_pb2.Status.FromString(answer.error)).code
        else:
            yield ""


@dataclass(slots=True)
class Abuse:
    """What became of the changed requests of a place."""

    line: Line
    callers: Sequence[Identity]
    codes: Counter[str] = member(default_factory=Counter)

    async def of(self, path: str, method: MethodDescriptor) -> None:
        """Send `REQUESTS` of a method, some at once."""
        sample = filled(method.input_type).SerializeToString()
        others = [Shape(sample, ())]
        changed = [of_wire(Random(f"{path} {n}"), sample, others) for n in range(REQUESTS)]
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            if method.client_streaming:
                for data in changed:
                    tasks.create_task(self._converse(path, method, [data], room))
            else:
                who = await self.line.whom_it_lets_in(path, method, sample, self.callers)
                for data in changed:
                    tasks.create_task(self._ask(path, method, data, who, room))

    async def _ask(
        self,
        path: str,
        method: MethodDescriptor,
        data: bytes,
        who: Identity,
        room: asyncio.Semaphore,
    ) -> None:
        async with room:
            self._take(path, [await self.line.ask(path, method, data, who)], [data])

    async def _converse(
        self,
        path: str,
        method: MethodDescriptor,
        messages: Sequence[bytes],
        room: asyncio.Semaphore,
    ) -> None:
        async with room:
            codes = await self.line.converse(path, method, messages, self.callers[0])
        self._take(path, codes, messages)

    def _take(self, path: str, codes: Sequence[str], sent: Sequence[bytes]) -> None:
        known = catalogue()
        for code in codes:
            told = f"{path} {[data.hex()[:SHOWN_MAX] for data in sent]}: {code}"
            assert not code or code in known, told
            assert code != "INTERNAL", told
            self.codes[code] += 1


@pytest.mark.req("G2-13-2", "G2-15-1")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.process)
async def test_no_request_makes_a_service_fail(market: Market, place: Place) -> None:
    network, provider = market.machine.network, open_provider()
    callers = [open_identity(network, provider, *each) for each in CALLERS[place.domain]]
    async with grpc.aio.insecure_channel(network.address(f"{place.process}.grpc")) as channel:
        abuse = Abuse(Line(place, channel, provider), callers)
        for path, method in place.methods:
            before = abuse.codes.total()
            await abuse.of(path, method)
            assert abuse.codes.total() > before, path
    assert not {"RATE_LIMITED", "QUEUE_FULL"} & set(abuse.codes), "all are looked at"
    assert abuse.codes["REQUEST_MALFORMED"] > 0, "some cannot be read"
    assert set(abuse.codes) - {"REQUEST_MALFORMED", WITHOUT_ROLE}, (
        "some get further than the reader"
    )
