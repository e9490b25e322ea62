"""What f + 1 replicas say alike is believed; one replica's word opens no door and closes none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.keys import ChainKeyDirectory
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.errors import STATUS_METADATA_KEY, DeniedError, UnavailableError
from services.chassis.grpc_server import error_of_code, to_rpc_status
from services.chassis.grpc_server.grpc_errors import grpc_code
from services.chassis.grpc_server.ports import KeyRecord
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains

DID = "did:rem:shandong:somebody"
Answer = Callable[[], Any]


def refusing(code: str) -> Answer:
    """Answers as a replica that refuses with this code."""

    async def refuse() -> Any:
        status = to_rpc_status(error_of_code(code))
        metadata = grpc.aio.Metadata((STATUS_METADATA_KEY, status.SerializeToString()))
        raise grpc.aio.AioRpcError(
            grpc_code(status), grpc.aio.Metadata(), metadata, details=status.message
        )

    return refuse


def saying(answer: Any) -> Answer:
    """Answers this."""

    async def say() -> Any:
        copy = type(answer)()
        copy.CopyFrom(answer)
        return copy

    return say


async def never() -> Any:
    """Hangs, as a process that was stopped."""
    await asyncio.Event().wait()


def identity(*roles: str, height: int = 7, revoked: bool = False) -> node.GetIdentityResponse:
    key = node.IdentityKey(
        key_id="k1", public_key=b"\x04" * 65, not_after_ms=1 << 40, revoked=revoked
    )
    return node.GetIdentityResponse(
        did=DID, organisation=DID, roles=roles, active=True, keys=[key], height=height
    )


def operations(*names: str) -> node.GetNetworkOptionsResponse:
    return node.GetNetworkOptionsResponse(operations=names)


def client_of(answers: Mapping[int, Answer], monkeypatch: pytest.MonkeyPatch) -> ChainClient:
    """A client of four replicas, each of which gives its answer to everything."""
    chain, _ = link_chains()
    trust = LedgerNode(chain).trust
    signer: Identity = identity_of(chain, KEYS)
    endpoints = [f"{replica}@127.0.0.1:1" for replica in answers]
    client = ChainClient("shandong", endpoints, signer, trust, KEYS.provider)

    def stub(index: int) -> Any:
        answer = list(answers.values())[index]

        async def call(request: Any, **options: float) -> Any:
            return await answer()

        return SimpleNamespace(GetIdentity=call, GetNetworkOptions=call)

    monkeypatch.setattr(client._endpoints, "stub", stub)
    return client


TRUE = saying(identity("observer"))
UNKNOWN = refusing("IDENTITY_UNKNOWN")


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(
    ("lie", "truth"),
    [
        (saying(identity("identity_admin")), TRUE),
        (UNKNOWN, TRUE),
        (saying(identity("observer")), saying(identity("observer", revoked=True))),
        (saying(identity("identity_admin")), UNKNOWN),
        (refusing("ROLE_MISSING"), TRUE),
        (refusing("CHAIN_UNAVAILABLE"), UNKNOWN),
        (never, TRUE),
    ],
    ids=["more roles", "nobody", "not revoked", "a stranger", "denied", "broken", "hung"],
)
@pytest.mark.parametrize("liar", range(4))
async def test_one_replica_changes_nothing_of_a_callers_keys(
    lie: Answer, truth: Answer, liar: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {replica: lie if replica == liar else truth for replica in range(4)}
    directory = ChainKeyDirectory(client_of(answers, monkeypatch), KeyRecord)
    found = await directory.find(DID, "k1")
    if truth is UNKNOWN:
        assert found is None
    else:
        assert found is not None
        assert found.roles == frozenset({"observer"})
        assert found.revoked == (await truth()).keys[0].revoked


async def test_replicas_at_other_heights_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {replica: saying(identity("observer", height=replica)) for replica in range(4)}
    found = await client_of(answers, monkeypatch).get_identity(DID)
    assert found is not None
    assert found.height == 0


@pytest.mark.req("G2-16-1")
async def test_where_all_say_something_else_nobody_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {replica: saying(identity(f"role_{replica}")) for replica in range(4)}
    with pytest.raises(UnavailableError) as refused:
        await ChainKeyDirectory(client_of(answers, monkeypatch), KeyRecord).find(DID, "k1")
    assert refused.value.code == "REPLICAS_DISAGREE"
    assert refused.value.fields["needed"] == "2"


async def test_one_replica_that_is_left_is_not_believed_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = refusing("CHAIN_UNAVAILABLE")
    answers = {0: away, 1: TRUE, 2: away, 3: away}
    with pytest.raises(UnavailableError) as refused:
        await client_of(answers, monkeypatch).get_identity(DID)
    assert refused.value.code == "CHAIN_UNAVAILABLE"


async def test_one_replica_under_two_addresses_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of({0: TRUE}, monkeypatch)
    client._endpoints._endpoints *= 2
    monkeypatch.setattr(client._endpoints, "stub", lambda _: SimpleNamespace(GetIdentity=said))
    assert client.replicas == 1 < client.needed
    with pytest.raises(UnavailableError) as refused:
        await client.get_identity(DID)
    assert refused.value.code == "REPLICAS_DISAGREE"


async def said(request: Any, **options: float) -> Any:
    return await TRUE()


async def test_who_may_not_ask_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = dict.fromkeys(range(4), refusing("ROLE_MISSING"))
    with pytest.raises(DeniedError) as refused:
        await client_of(answers, monkeypatch).get_identity(DID)
    assert refused.value.code == "ROLE_MISSING"


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize("liar", range(4))
@pytest.mark.parametrize("lie", [(), ("register.transfer", "register.pledge")], ids=str)
async def test_one_replica_neither_hides_an_operation_nor_invents_one(
    lie: tuple[str, ...], liar: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = saying(operations("register.transfer"))
    answers = {
        replica: saying(operations(*lie)) if replica == liar else built for replica in range(4)
    }
    found = await client_of(answers, monkeypatch).get_operations()
    assert found == ("register.transfer",)
