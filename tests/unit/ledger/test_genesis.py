"""Genesis: what is refused, and what block 0 says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.client.trust import trust_from_genesis
from guqiao_sdk.proof.header import ZERO_HASH
from services.consensus.domain.ledger.genesis import GenesisError, genesis_header, genesis_state
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.domain.messages import WINDOW_MAX
from services.consensus.domain.messages import ProtocolParameters as ReplicaParameters
from tests.unit.ledger.chain_builder import (
    CLERK,
    genesis_json,
    genesis_of,
    identity_json,
    key_json,
    replicas_json,
)

Spoil = Callable[[dict[str, Any]], object]


def remote(**changes: Any) -> dict[str, Any]:
    entry = {
        "chain_id": "supervising",
        "genesis_hash": "ab" * 32,
        "epoch": 0,
        "replicas": replicas_json("A", "B", "C", "D"),
    }
    return {**entry, **changes}


def test_a_genesis_reads_back_as_it_was_written() -> None:
    value = genesis_json()
    value["remote_chains"] = [remote()]
    value["contracts"][1]["parameters"] = {"checker_required": ["transfer"]}
    genesis = genesis_of(value)
    assert parse_genesis(genesis.to_bytes()) == genesis
    assert genesis.to_json() == value
    spelled_otherwise = json.dumps(value, indent=2, ensure_ascii=True).encode()
    assert parse_genesis(spelled_otherwise).hash() == genesis.hash()


@pytest.mark.parametrize(
    ("entities", "code"),
    [
        pytest.param("ABC", "REPLICAS_TOO_FEW", marks=pytest.mark.req("G2-07-2")),
        pytest.param("AAAA", "SINGLE_ENTITY_VALIDATORS", marks=pytest.mark.req("G2-16-3")),
        pytest.param("AAAB", "ENTITY_HOLDS_QUORUM", marks=pytest.mark.req("G2-16-3")),
    ],
)
def test_a_replica_set_against_the_rules_is_refused(entities: str, code: str) -> None:
    value = genesis_json()
    value["replicas"] = replicas_json(*entities)
    with pytest.raises(GenesisError) as caught:
        genesis_of(value)
    assert (caught.value.code, caught.value.field) == (code, "replicas")


AUTHORITIES = {
    "csrc": key_json("csrc-restart")["public_key"],
    "province": key_json("province-restart")["public_key"],
}


def governed() -> dict[str, Any]:
    value = genesis_json()
    value["contracts"].append({"name": "governance", "version": 1, "from_height": 0})
    return value


@pytest.mark.req("G2-13-2")
def test_a_genesis_may_name_who_restarts_the_chain_and_is_the_same_without() -> None:
    """pbft.md, Q1."""
    without = genesis_of(governed())
    assert without.restart_authorities is None
    assert b"restart_authorities" not in without.to_bytes()
    named = genesis_of(governed() | {"restart_authorities": AUTHORITIES})
    assert named.hash() != without.hash()
    assert parse_genesis(named.to_bytes()) == named
    assert named.restart_authorities is not None
    assert trust_from_genesis(named.to_bytes()).authorities == named.restart_authorities
    assert trust_from_genesis(without.to_bytes()).authorities is None
    other = remote(restart_authorities=AUTHORITIES)
    knows = genesis_of(genesis_json() | {"remote_chains": [other]})
    assert knows.remote_chains[0].restart_authorities == named.restart_authorities
    assert parse_genesis(knows.to_bytes()) == knows


@pytest.mark.req("G2-13-2", "G2-16-3")
@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"csrc": AUTHORITIES["csrc"]},
        {**AUTHORITIES, "market": AUTHORITIES["csrc"]},
        {**AUTHORITIES, "province": AUTHORITIES["csrc"]},
        {**AUTHORITIES, "province": replicas_json("A")[0]["vote_key"]},
    ],
)
def test_authorities_are_two_keys_and_no_vote_keys(value: Any) -> None:
    with pytest.raises(GenesisError, match="restart_authorities"):
        genesis_of(governed() | {"restart_authorities": value})


def test_only_a_chain_with_governance_can_be_restarted() -> None:
    with pytest.raises(GenesisError, match="no governance contract"):
        genesis_of(genesis_json() | {"restart_authorities": AUTHORITIES})


@pytest.mark.req("G2-07-2", "G2-16-3")
@pytest.mark.parametrize("entities", ["AABB", "AABC", "ABCD"])
def test_four_replicas_without_a_quorum_in_one_hand_are_accepted(entities: str) -> None:
    value = genesis_json()
    value["replicas"] = replicas_json(*entities)
    assert genesis_of(value).replica_set.size == 4


SPOILS: dict[str, Spoil] = {
    "genesis.surprise": lambda g: g.update(surprise=1),
    "genesis.epoch": lambda g: g.pop("epoch"),
    "format": lambda g: g.update(format="guqiao-genesis/2"),
    "chain_id": lambda g: g.update(chain_id="Testing"),
    "epoch": lambda g: g.update(epoch=-1),
    "genesis_time_ms": lambda g: g.update(genesis_time_ms=True),
    "historic_import": lambda g: g.update(historic_import=1),
    "destination": lambda g: g.update(destination="testing"),
    "parameters.window": lambda g: g["parameters"].update(window=0),
    "parameters.batch_bytes_max": lambda g: g["parameters"].update(batch_bytes_max=1 << 40),
    "parameters.surprise": lambda g: g["parameters"].update(surprise=1),
    "parameters.view_timeout_max_ms": lambda g: g["parameters"].update(view_timeout_max_ms=999),
    "replicas[1].vote_key": lambda g: g["replicas"][1].update(vote_key="02" + "ab" * 64),
    "replicas[2].entity_id": lambda g: g["replicas"][2].update(entity_id=""),
    "replicas[3].port": lambda g: g["replicas"][3].update(port=1),
    "contracts[0]": lambda g: g["contracts"][0].update(name="ledger"),
    "contracts[1]": lambda g: g["contracts"][1].update(name="identity"),
    "contracts[1].parameters.chain_id": lambda g: g["contracts"][1].update(
        parameters={"chain_id": "x"}
    ),
    "contracts[2].parameters": lambda g: g["contracts"].append(
        {"name": "scribble", "version": 2, "from_height": 9, "parameters": {"a": 1}}
    ),
    "identities[1].did": lambda g: g["identities"][1].update(did="did:rem:testing:admin"),
    "identities[1].keys[0].public_key": lambda g: g["identities"][1]["keys"][0].update(
        public_key="04"
    ),
    "identities[1].keys[0].not_after_ms": lambda g: g["identities"][1]["keys"][0].update(
        not_after_ms=0
    ),
    "identities[1].keys[1].id": lambda g: g["identities"][1]["keys"].append(key_json(CLERK)),
    "identities[1].roles[0]": lambda g: g["identities"][1].update(roles=["Clerk"]),
    "identities[2].phone": lambda g: g["identities"].append(
        {**identity_json("did:rem:testing:x"), "phone": "1"}
    ),
    "remote_chains[0].chain_id": lambda g: g["remote_chains"].append(remote(chain_id="testing")),
    "remote_chains[1].chain_id": lambda g: g["remote_chains"].extend([remote(), remote()]),
    "remote_chains[0].genesis_hash": lambda g: g["remote_chains"].append(
        remote(genesis_hash="00" * 32)
    ),
    "remote_chains[0].replicas": lambda g: g["remote_chains"].append(
        remote(replicas=replicas_json("A", "B", "C"))
    ),
}


@pytest.mark.parametrize("field", SPOILS)
def test_a_spoilt_member_is_refused_by_name(field: str) -> None:
    value = genesis_json()
    SPOILS[field](value)
    with pytest.raises(GenesisError) as caught:
        genesis_of(value)
    assert caught.value.field == field


@pytest.mark.parametrize("window", [1, WINDOW_MAX])
def test_a_genesis_allows_the_windows_that_the_core_allows(window: int) -> None:
    value = genesis_json()
    value["parameters"]["window"] = window
    assert ReplicaParameters(window, 1, 1, 1, 1, 1).window == genesis_of(value).parameters.window


def test_a_window_that_the_core_refuses_is_refused_by_the_genesis() -> None:
    with pytest.raises(ValueError, match="window"):
        ReplicaParameters(WINDOW_MAX + 1, 1, 1, 1, 1, 1)
    value = genesis_json()
    value["parameters"]["window"] = WINDOW_MAX + 1
    with pytest.raises(GenesisError) as caught:
        genesis_of(value)
    assert caught.value.field == "parameters.window"


@given(st.binary(max_size=200))
def test_any_bytes_give_a_genesis_or_a_genesis_error(data: bytes) -> None:
    with pytest.raises(GenesisError):
        parse_genesis(data)


def test_block_zero_has_no_parent_and_commits_to_the_genesis_hash() -> None:
    genesis = genesis_of(genesis_json())
    header = genesis_header(genesis)
    assert (header.height, header.parent) == (0, ZERO_HASH)
    assert header.next_set_hash == genesis.replica_set.hash()
    other = genesis_json()
    other["parameters"]["heartbeat_ms"] = 6_000
    assert genesis_header(genesis_of(other)).state_root != header.state_root
    assert genesis_state(genesis)[b"ledger/genesis"] == json.dumps(genesis.hash().hex()).encode()


def test_contracts_find_their_parameters_in_their_namespace() -> None:
    value = genesis_json()
    value["contracts"][1]["parameters"] = {"checker_required": ["transfer"]}
    state = genesis_state(genesis_of(value))
    common = {
        "chain_id": "testing",
        "destination": "supervising",
        "historic_import": False,
        "remote_chains": [],
    }
    assert json.loads(state[b"identity/parameters"]) == common
    assert json.loads(state[b"scribble/parameters"]) == {
        **common,
        "checker_required": ["transfer"],
    }


def test_a_version_is_active_from_its_height_on() -> None:
    value = genesis_json()
    value["contracts"].append({"name": "scribble", "version": 2, "from_height": 10})
    genesis = genesis_of(value)
    assert [genesis.active_version("scribble", height) for height in (0, 9, 10, 11)] == [1, 1, 2, 2]
    assert genesis.active_version("nothing", 5) is None
