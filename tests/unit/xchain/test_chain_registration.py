"""Registration of another chain with the light client: its rules are those of a genesis."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import LedgerChain, events, make_pair

BEIJING = Replicas(FakeKeys(), "beijing")


@pytest.fixture
def csrc() -> LedgerChain:
    """The regulatory chain, whose one identity also administers chains."""
    chain = make_pair(FakeKeys())[1]
    key = f"identity/did/{chain.did}".encode()
    record = json.loads(chain.state.values[key])
    record["roles"] = ["chain_admin", "relayer"]
    chain.state.values[key] = json.dumps(record).encode()
    return chain


def registration(**changes: Json) -> dict[str, Json]:
    replicas: list[Json] = [
        {
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": member.public_key.hex(),
        }
        for member in BEIJING.set.members
    ]
    body: dict[str, Json] = {
        "chain_id": "beijing",
        "genesis_hash": "ab" * 32,
        "epoch": 0,
        "replicas": replicas,
    }
    return body | changes


def update(csrc: LedgerChain, height: int) -> Receipt:
    header = BEIJING.header(height)
    body: dict[str, Json] = {
        "chain": "beijing",
        "header": header.encode().hex(),
        "certificate": BEIJING.certify(header).encode().hex(),
        "set_changes": [],
    }
    return csrc.call("light_client", "update", body)


@pytest.mark.req("G2-10-1")
def test_a_registered_chain_can_be_followed_and_was_unknown_before(csrc: LedgerChain) -> None:
    assert update(csrc, 7).code == "CLIENT_UNKNOWN"
    registered = csrc.call("light_client", "register_chain", registration())
    assert registered.accepted
    assert not events(registered, "light_client.entity_above_faulty_max")
    assert update(csrc, 7).accepted


def test_the_same_registration_changes_nothing_and_another_is_refused(csrc: LedgerChain) -> None:
    assert csrc.call("light_client", "register_chain", registration()).accepted
    again = csrc.call("light_client", "register_chain", registration())
    assert again.accepted
    assert again.events == ()
    other = registration(genesis_hash="cd" * 32)
    assert csrc.call("light_client", "register_chain", other).code == "REFERENCE_CONFLICT"


def test_a_chain_that_genesis_trusts_cannot_be_registered_with_other_keys(
    csrc: LedgerChain,
) -> None:
    body = registration(chain_id="shandong")
    assert csrc.call("light_client", "register_chain", body).code == "REFERENCE_CONFLICT"


def shortened(count: int) -> list[Json]:
    replicas = registration()["replicas"]
    assert isinstance(replicas, list)
    return replicas[:count]


def changed(**member: Any) -> list[Json]:
    replicas = registration()["replicas"]
    assert isinstance(replicas, list)
    rows: list[Any] = [dict(row) for row in replicas if isinstance(row, dict)]
    for row in rows if "entity_id" in member and member["entity_id"] == "one" else rows[:1]:
        row |= member
    return rows


@pytest.mark.req("G2-07-2", "G2-10-2d", "G2-16-3")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"chain_id": "csrc"}, "BODY_MALFORMED"),
        ({"chain_id": "a/b"}, "BODY_MALFORMED"),
        ({"genesis_hash": "00" * 32}, "BODY_MALFORMED"),
        ({"genesis_hash": "ab"}, "BODY_MALFORMED"),
        ({"epoch": -1}, "BODY_MALFORMED"),
        ({"replicas": shortened(3)}, "REPLICAS_TOO_FEW"),
        ({"replicas": shortened(0)}, "REPLICAS_TOO_FEW"),
        ({"replicas": changed(entity_id="one")}, "SINGLE_ENTITY_VALIDATORS"),
        ({"replicas": changed(vote_key="04" + "00" * 64)}, "GENESIS_INVALID"),
        ({"replicas": changed(entity_id="企" * 64)}, "GENESIS_INVALID"),
    ],
)
def test_g11_a_registration_that_breaks_the_rules_of_a_genesis_is_refused(
    csrc: LedgerChain, change: dict[str, Json], code: str
) -> None:
    assert csrc.call("light_client", "register_chain", registration(**change)).code == code
    assert csrc.value("light_client/trust/beijing") is None


@pytest.mark.req("G2-16-3")
def test_an_entity_with_more_than_f_keys_is_a_warning(csrc: LedgerChain) -> None:
    rows: list[Any] = shortened(4)
    second = {**rows[1], "entity_id": rows[0]["entity_id"]}
    body = registration(replicas=[rows[0], second, *rows[2:]])
    receipt = csrc.call("light_client", "register_chain", body)
    topic = "light_client.entity_above_faulty_max"
    place = {"chain": "beijing", "epoch": 0}
    assert events(receipt, topic) == [{**place, "entities": [rows[0]["entity_id"]]}]


def test_only_an_administrator_of_chains_registers_one() -> None:
    csrc = make_pair(FakeKeys())[1]
    receipt = csrc.call("light_client", "register_chain", registration())
    assert receipt.code == "ROLE_MISSING"
