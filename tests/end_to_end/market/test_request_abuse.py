"""Requests that must not pass, sent as raw bytes to every kind of service and to replicas.

Each is refused with its own code and changes nothing: the state root of the market's chain and the
registry's counts are compared before and after.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.gateway.v1 import gateway_service_pb2 as gateway
from guqiao.registry.v1 import registry_service_pb2 as registry
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import (
    ChainPosition,
    Identity,
    build_transaction,
    transaction_to_message,
)
from guqiao_sdk.errors import GuqiaoError, error_from_rpc
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.signing import RequestSigner, system_time_ms
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from tests.end_to_end.market.conftest import Market

pytestmark = pytest.mark.end_to_end
CALL_SECONDS = 60.0
LARGE_BYTES = 17 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Door:
    """One service, a question that its domain's staff may ask, and another of its methods."""

    name: str
    address: str
    service: str
    method: str
    submit: str
    domain: str = MARKET
    question: bytes = b""

    def signer(self, identity: Identity, provider: GmProvider) -> RequestSigner:
        return RequestSigner(
            identity.did, identity.key_id, identity.private_key, provider, self.domain, self.service
        )

    async def ask(self, signer: RequestSigner) -> bytes:
        """Ask the question as this signer."""
        metadata = signer.metadata(self.method, self.question, signer.stamp())
        return await self.call(self.method, self.question, metadata)

    async def call(
        self, method: str, message: bytes, metadata: Sequence[tuple[str, str | bytes]]
    ) -> bytes:
        """Send these very bytes; raises the error that the service answers."""
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            raw: Any = channel.unary_unary(method)
            try:
                answer: bytes = await raw(message, metadata=metadata, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise error_from_rpc(error) from error
        return answer


@dataclass(slots=True)
class Caller:
    """The market's maker, who may call, and what it takes to call wrongly."""

    network: Network
    provider: GmProvider
    maker: Identity
    supervisor: Identity
    client: ChainClient

    def staff(self, door: Door) -> Identity:
        """Who may ask there."""
        return self.maker if door.domain == MARKET else self.supervisor

    def all_doors(self) -> list[Door]:
        """Every kind of service of both domains, and a replica of each chain."""
        others = []
        for domain, remote in ((MARKET, CSRC), (CSRC, MARKET)):
            link = gateway.GetLinkRequest(remote_chain_id=remote).SerializeToString()
            rows = [("gateway", "GetLink", "GetPacket", link)]
            rows += [("reporting", "GetStatus", "GetDataObject", b"")]
            if domain == CSRC:
                rows += [("enablement", "ListServices", "RegisterService", b"")]
            for service, method, submit, question in rows:
                prefix = f"/guqiao.{service}.v1.{service.capitalize()}Service/"
                others.append(
                    Door(
                        f"{domain}/{service}",
                        self.network.address(f"{domain}-{service}.grpc"),
                        service,
                        prefix + method,
                        prefix + submit,
                        domain,
                        question,
                    )
                )
        replica = self.doors()[1]
        address = self.network.address(f"{CSRC}-0.grpc")
        regulatory = replace(replica, name="csrc/replica", address=address, domain=CSRC)
        return [*self.doors(), regulatory, *others]

    def doors(self) -> list[Door]:
        consensus, market = (
            "/guqiao.consensus.v1.NodeService/",
            "/guqiao.registry.v1.RegistryService/",
        )
        return [
            Door(
                "registry",
                self.network.address(f"{MARKET}-registry.grpc"),
                "registry",
                f"{market}GetStatus",
                f"{market}SubmitOperation",
            ),
            Door(
                "replica",
                self.network.address(f"{MARKET}-0.grpc"),
                "consensus/0",
                f"{consensus}GetNetworkStatus",
                f"{consensus}SubmitTransaction",
            ),
        ]


@pytest.fixture
async def caller(market: Market) -> AsyncIterator[Caller]:
    network, provider = market.machine.network, open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    supervisor = open_identity(network, provider, CSRC, "supervisor")
    async with open_chain(network, provider, MARKET, maker) as client:
        yield Caller(network, provider, maker, supervisor, client)


async def state(caller: Caller) -> tuple[bytes, int, int]:
    """The chain's state root and the registry's counts."""
    status = await caller.client.get_status(0)
    door = caller.doors()[0]
    signer = door.signer(caller.maker, caller.provider)
    metadata = signer.metadata(door.method, b"", signer.stamp())
    counts = registry.GetStatusResponse.FromString(await door.call(door.method, b"", metadata))
    return status.state_root, counts.accepted, counts.refused


async def refusal(attempt: Any) -> str:
    """The code with which an attempt is refused."""
    with pytest.raises(GuqiaoError) as refused:
        await attempt
    return refused.value.code


Wrong = Callable[[Caller, Door], Any]


async def unsigned(caller: Caller, door: Door) -> None:
    await door.call(door.method, door.question, ())


async def half_signed(caller: Caller, door: Door) -> None:
    signer = door.signer(caller.staff(door), caller.provider)
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())[:-1]
    )


async def altered(caller: Caller, door: Door) -> None:
    """Signed as one message, sent as another (an unknown field, which parsers would pass over)."""
    signer = door.signer(caller.staff(door), caller.provider)
    metadata = signer.metadata(door.method, door.question, signer.stamp())
    await door.call(door.method, door.question + b"\xf8\x07\x01", metadata)


async def meant_for_another(caller: Caller, door: Door) -> None:
    signer = replace(door.signer(caller.staff(door), caller.provider), service="another")
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())
    )


async def meant_for_another_domain(caller: Caller, door: Door) -> None:
    signer = replace(door.signer(caller.staff(door), caller.provider), domain="another")
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())
    )


async def meant_for_another_method(caller: Caller, door: Door) -> None:
    signer = door.signer(caller.staff(door), caller.provider)
    await door.call(
        door.method, door.question, signer.metadata(door.submit, door.question, signer.stamp())
    )


async def replayed(caller: Caller, door: Door) -> None:
    signer = door.signer(caller.staff(door), caller.provider)
    metadata = signer.metadata(door.method, door.question, signer.stamp())
    await door.call(door.method, door.question, metadata)
    await door.call(door.method, door.question, metadata)


async def stale(caller: Caller, door: Door) -> None:
    old = lambda: system_time_ms() - 400_000  # noqa: E731
    signer = replace(door.signer(caller.staff(door), caller.provider), now_ms=old)
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())
    )


async def ahead_of_time(caller: Caller, door: Door) -> None:
    soon = lambda: system_time_ms() + 400_000  # noqa: E731
    signer = replace(door.signer(caller.staff(door), caller.provider), now_ms=soon)
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())
    )


async def from_nobody(caller: Caller, door: Door) -> None:
    staff = caller.staff(door)
    stranger = replace(staff, did=f"{staff.organisation}.nobody")
    signer = door.signer(stranger, caller.provider)
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())
    )


async def forged(caller: Caller, door: Door) -> None:
    thief = replace(caller.staff(door), private_key=caller.provider.keygen())
    signer = door.signer(thief, caller.provider)
    await door.call(
        door.method, door.question, signer.metadata(door.method, door.question, signer.stamp())
    )


async def too_large(caller: Caller, door: Door) -> None:
    message = bytes(LARGE_BYTES)
    signer = door.signer(caller.staff(door), caller.provider)
    await door.call(door.submit, message, signer.metadata(door.submit, message, signer.stamp()))


async def no_message(caller: Caller, door: Door) -> None:
    """Signed well, but the bytes are no protobuf message."""
    message = b"\xff\xff\xff"
    signer = door.signer(caller.staff(door), caller.provider)
    await door.call(door.submit, message, signer.metadata(door.submit, message, signer.stamp()))


async def to_no_method(caller: Caller, door: Door) -> None:
    method = door.method + "s"
    signer = door.signer(caller.staff(door), caller.provider)
    await door.call(method, b"", signer.metadata(method, b"", signer.stamp()))


REQUESTS: list[tuple[Wrong, str]] = [
    (unsigned, "REQUEST_UNSIGNED"),
    (half_signed, "REQUEST_UNSIGNED"),
    (altered, "REQUEST_SIGNATURE_INVALID"),
    (meant_for_another, "REQUEST_SIGNATURE_INVALID"),
    (meant_for_another_domain, "REQUEST_SIGNATURE_INVALID"),
    (meant_for_another_method, "REQUEST_SIGNATURE_INVALID"),
    (replayed, "REQUEST_REPLAYED"),
    (stale, "REQUEST_EXPIRED"),
    (ahead_of_time, "REQUEST_EXPIRED"),
    (from_nobody, "KEY_UNKNOWN"),
    (forged, "REQUEST_SIGNATURE_INVALID"),
    (too_large, "REQUEST_TOO_LARGE"),
    (no_message, "REQUEST_MALFORMED"),
    (to_no_method, "METHOD_UNKNOWN"),
]


@pytest.mark.req("G2-16-1")
async def test_every_wrong_request_is_refused_with_its_code_and_changes_nothing(
    caller: Caller,
) -> None:
    before = await state(caller)
    found = {
        (wrong.__name__, door.name): await refusal(wrong(caller, door))
        for wrong, _ in REQUESTS
        for door in caller.all_doors()
    }
    assert found == {
        (wrong.__name__, door.name): code for wrong, code in REQUESTS for door in caller.all_doors()
    }
    assert len(found) == len(REQUESTS) * 8
    assert await state(caller) == before


@pytest.mark.req("G2-16-1")
async def test_a_caller_without_the_role_is_refused(caller: Caller) -> None:
    door = caller.doors()[0]
    method = "/guqiao.registry.v1.RegistryService/PutInvestors"
    message = registry.PutInvestorsRequest(as_of="2025-01-01").SerializeToString()
    signer = door.signer(caller.maker, caller.provider)
    metadata = signer.metadata(method, message, signer.stamp())
    assert await refusal(door.call(method, message, metadata)) == "ROLE_MISSING"


async def submit(caller: Caller, door: Door, transaction: SignedTransaction) -> str:
    """The code that a transaction gets, as an error or in its receipt; empty when it stands."""
    message = transaction_to_message(transaction)
    if door.name == "registry":
        request = registry.SubmitOperationRequest(transaction=message).SerializeToString()
    else:
        submission = node.SubmitTransactionRequest(transaction=message, wait_final=True)
        request = submission.SerializeToString()
    signer = door.signer(caller.maker, caller.provider)
    metadata = signer.metadata(door.submit, request, signer.stamp())
    try:
        answer = await door.call(door.submit, request, metadata)
    except GuqiaoError as error:
        return error.code
    if door.name == "registry":
        return registry.SubmitOperationResponse.FromString(answer).result.code
    return node.SubmitTransactionResponse.FromString(answer).result.code


def operation(
    caller: Caller, position: ChainPosition, *, maker: Identity | None = None, **changes: Any
) -> SignedTransaction:
    """An operation that would be executed (and refused by the market's rules) as it stands."""
    body: dict[str, Any] = {"account": "Q000000000", "evidence": []}
    return build_transaction(
        caller.provider,
        maker or caller.maker,
        position,
        contract="register",
        method="close_account" if "method" not in changes else changes.pop("method"),
        body=body,
        business_time="2025-12-31T15:00:00+08:00",
        **changes,
    )


def wrong_transactions(
    caller: Caller, position: ChainPosition
) -> list[tuple[str, SignedTransaction, str]]:
    """(what is wrong, the transaction, the code it must get)."""
    provider, maker = caller.provider, caller.maker
    nobody = replace(maker, did=f"{maker.organisation}.nobody", private_key=provider.keygen())
    thief = replace(maker, private_key=provider.keygen())
    own: dict[str, Any] = {"method": "open_account"}
    good = operation(caller, position, **own)
    ((key, signature),) = good.signatures
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    return [
        (
            "for another chain",
            operation(caller, replace(position, chain_id="csrc"), **own),
            "CHAIN_MISMATCH",
        ),
        (
            "expired",
            operation(caller, position, expires_after_heights=-1, **own),
            "TRANSACTION_EXPIRED",
        ),
        (
            "valid for too long",
            operation(caller, position, expires_after_ms=86_400_000, **own),
            "TRANSACTION_EXPIRY_TOO_FAR",
        ),
        (
            "signature forged",
            SignedTransaction(good.payload, ((key, flipped),)),
            "TRANSACTION_SIGNATURE_INVALID",
        ),
        (
            "payload altered",
            SignedTransaction(good.payload.replace(b"Q000000000", b"Q000000001"), good.signatures),
            "TRANSACTION_SIGNATURE_INVALID",
        ),
        ("of nobody", operation(caller, position, maker=nobody, **own), "SENDER_UNKNOWN"),
        ("with another key", operation(caller, position, maker=thief, **own), "KEY_MISMATCH"),
        (
            "no payload",
            SignedTransaction(b"{}", good.signatures),
            "TRANSACTION_MALFORMED",
        ),
        (
            "after one that was never executed",
            operation(caller, position, after=b"\x01" * 32, **own),
            "PREDECESSOR_MISSING",
        ),
    ]


@pytest.mark.req("G2-13-2", "G2-09-2")
async def test_every_wrong_transaction_gets_its_code_at_both_doors_and_moves_nothing(
    caller: Caller,
) -> None:
    roster_before = (await state(caller))[1]
    found: dict[tuple[str, str], str] = {}
    wanted: dict[tuple[str, str], str] = {}
    for door in caller.doors():
        position = await caller.client.latest()
        for what, transaction, code in wrong_transactions(caller, position):
            found[door.name, what] = await submit(caller, door, transaction)
            wanted[door.name, what] = code
    assert found == wanted
    assert (await state(caller))[1] == roster_before


async def test_a_request_id_stands_for_one_body_for_ever(caller: Caller) -> None:
    """The same operation again gives the same answer; another one under its id is refused."""
    position, request_id = await caller.client.latest(), str(uuid.uuid4())
    first = operation(caller, position, method="open_account", request_id=request_id)
    other = operation(caller, position, request_id=request_id, method="transfer")
    for door in caller.doors():
        answers = [await submit(caller, door, first) for _ in range(2)]
        assert answers == [answers[0]] * 2
        assert answers[0] not in {"", "REQUEST_ID_REUSED"}
        assert await submit(caller, door, other) == "REQUEST_ID_REUSED"


async def test_a_transaction_sent_many_times_at_once_is_executed_once(caller: Caller) -> None:
    position = await caller.client.latest()
    transaction = operation(caller, position, method="open_account")
    doors = caller.doors() * 4
    codes = await asyncio.gather(*(submit(caller, door, transaction) for door in doors))
    assert len(set(codes)) == 1
    proven = await caller.client.get_transaction(transaction.id())
    block = await caller.client.get_block(proven.result.height)
    assert [one.id() for one in block.transactions].count(transaction.id()) == 1
