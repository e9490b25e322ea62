"""A regulatory chain whose light client of a market froze, and proposals of another trust."""

from __future__ import annotations

from typing import Any

from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.chain_registry.replacing import proposal_digest
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    CSRC,
    ON_DUTY,
    PROVINCE,
    REGULATOR,
    TECH_SIDE,
    Nodes,
    Registry,
    crl,
    identity,
    nodes,
)

BUSY_TECH = identity("busy", CSRC, "csrc_tech", "csrc_market", "provincial_regulator")
BUSY_REGULATOR = identity("busy", PROVINCE, "csrc_tech", "csrc_market", "provincial_regulator")
TECH_OF_PROVINCE = identity("tech", PROVINCE, "csrc_tech")
FORK = 7
AFTER = nodes(epoch=1)
"""The market's replicas once it replaced every key."""


def made(client_version: int = 3) -> Registry:
    found = Registry.make(version=4, client_version=client_version)
    for each in (BUSY_TECH, BUSY_REGULATOR, TECH_OF_PROVINCE):
        place = f"identity/did/{each.did}".encode()
        found.csrc.state.values[place] = canonical_json(each.to_json())
    found.must("publish_crl", (TECH_SIDE,), crl=crl())
    found.active()
    for height in (3, FORK, 9):
        assert bring(found, found.market.header(height), (0, 1, 2)).accepted
    return found


def frozen() -> Registry:
    """A chain in force whose client knows heights 3, 7 and 9 and froze on two headers of 7, which
    replicas 1 and 2 both signed.
    """
    found = made()
    receipt = bring(found, found.market.header(FORK, tag="other"), (1, 2, 3))
    assert events(receipt, "light_client.frozen")
    assert client(found)["status"] == "FROZEN"
    return found


def half(
    header: BlockHeader, signers: tuple[int, ...] = (0, 1, 2), of: Nodes | None = None
) -> dict[str, Json]:
    certificate = (of or nodes()).certify(header, signers)
    return {"header": header.encode().hex(), "certificate": certificate.encode().hex()}


def bring(
    registry: Registry,
    header: BlockHeader,
    signers: tuple[int, ...] = (0, 1, 2),
    of: Nodes | None = None,
) -> Receipt:
    body: dict[str, Json] = {"chain": "shandong", "set_changes": [], **half(header, signers, of)}
    return registry.csrc.call("light_client", "update", body)


def evidence(registry: Registry, height: int, signers: tuple[int, ...] = (0, 1, 3)) -> Receipt:
    body: dict[str, Json] = {
        "chain": "shandong",
        "first": half(nodes().header(height)),
        "second": half(nodes().header(height, tag="other"), signers),
    }
    return registry.csrc.call("light_client", "submit_misbehaviour", body)


def told(receipt: Receipt, topic: str) -> dict[str, Any]:
    [event] = events(receipt, topic)
    return event


def client(registry: Registry) -> dict[str, Any]:
    record = registry.csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    return record


def known_heights(registry: Registry, kind: str = "state") -> list[int]:
    prefix = f"light_client/{kind}/shandong/".encode()
    return [int(key.removeprefix(prefix)) for key, _ in registry.csrc.state.scan(prefix)]


def proposal(
    height: int = 20, of: Nodes = AFTER, *, signers: Any = (0, 1, 2), **changes: Any
) -> dict[str, Any]:
    trust = {**half(of.header(height), signers, of), "replica_set": of.set.encode().hex()}
    return {
        "chain_id": "shandong", "generation": 0, "fork_height": FORK, "trust": trust,
        "reason": "两个分叉均有法定数量签名，市场已更换全部共识密钥",
    } | changes  # fmt: skip


def named(value: dict[str, Any]) -> dict[str, Any]:
    return {"chain_id": value["chain_id"], "digest": proposal_digest(value)}


def consented(registry: Registry, value: dict[str, Any]) -> Registry:
    registry.must("propose_client", (ON_DUTY,), **value)
    registry.must("consent_client", (REGULATOR,), **named(value))
    return registry


def replaced(registry: Registry, value: dict[str, Any]) -> Receipt:
    return consented(registry, value).must("replace_client", BOTH_SIDES, **named(value))
