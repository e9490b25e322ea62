"""What a restart writes into the state, and what of it needs the state: pbft.md, Q4 and Q8."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.contracts.replica_sets import (
    Cause,
    SetInForce,
    first_records,
    latest_set,
    restart_of_epoch,
    set_at,
    set_key,
    set_of_epoch,
    window_of,
)
from services.consensus.domain.ledger.restarting import (
    GovernanceState,
    check_against_state,
    restarted,
)
from tests.unit.proof.restart_case import HEIGHT, RestartCase
from tests.unit.xchain.ledger_chain import MemoryState

CASE = RestartCase()
RESTART = CASE.restart()
WINDOW = 8
NEW_ENTITY = "new-entity-2"


def state_with(*scheduled: SetInForce) -> MemoryState:
    """The state under the header, with the first set and those that are scheduled."""
    records: dict[str, Any] = dict(first_records(CASE.old.set, WINDOW))
    for each in scheduled:
        records[set_key(each.replica_set.epoch)] = each.to_json()
        records["sets/latest"] = {"epoch": each.replica_set.epoch, "window": WINDOW}
    values = {f"governance/{key}".encode(): canonical_json(value) for key, value in records.items()}
    return MemoryState({**CASE.state(), **values})


def later(epoch: int, height: int) -> SetInForce:
    return SetInForce(height, Cause.GOVERNANCE, ReplicaSet("shandong", epoch, CASE.old.set.members))


@pytest.mark.req("G2-13-2", "G2-10-3")
def test_the_new_set_is_in_force_from_the_next_height_and_the_restart_is_kept() -> None:
    state = GovernanceState(restarted(state_with(), [RESTART]))
    assert set_at(state, HEIGHT + 1) == SetInForce(
        HEIGHT + 1, Cause.RESTART, RESTART.statement.new_set
    )
    before = set_at(state, HEIGHT)
    assert before is not None
    assert before.replica_set == CASE.old.set
    assert restart_of_epoch(state, 1) == RESTART
    assert restart_of_epoch(state, 0) is None
    assert window_of(state) == WINDOW


@pytest.mark.req("G2-10-3")
def test_changes_that_were_scheduled_for_later_are_void() -> None:
    """They were to follow a set that decides no more."""
    scheduled = (later(1, HEIGHT + 5), later(2, HEIGHT + 9))
    state = GovernanceState(restarted(state_with(*scheduled), [RESTART]))
    assert latest_set(state) == SetInForce(HEIGHT + 1, Cause.RESTART, RESTART.statement.new_set)
    assert set_of_epoch(state, 2) is None


def test_an_approved_restart_of_another_set_is_our_own_bug() -> None:
    """Every replica judges it before; a state that differs must not be guessed over."""
    with pytest.raises(AssertionError, match="another chain"):
        restarted(state_with(later(1, HEIGHT + 1)), [RESTART])


def governor(entity: str = NEW_ENTITY, key: str = "new-governor", **changes: Any) -> dict[str, Any]:
    record = {
        "did": f"did:rem:shandong:{entity}.governor",
        "organisation": f"did:rem:shandong:{entity}",
        "roles": ["governor"],
        "keys": [
            {
                "id": "k1",
                "public_key": CASE.keys.public_key(key).hex(),
                "not_before_ms": 0,
                "not_after_ms": 1,
            }
        ],
    }
    return {**record, **changes}


def with_governors(*records: dict[str, Any]) -> Any:
    return replace(RESTART.statement, governors=tuple(canonical_json(each) for each in records))


@pytest.mark.req("G2-10-3", "G2-16-3")
def test_governors_of_new_entities_come_with_it() -> None:
    statement = with_governors(governor())
    check_against_state(state_with(), statement)
    state = restarted(state_with(), [replace(RESTART, statement=statement)])
    kept = state.get(f"identity/did/did:rem:shandong:{NEW_ENTITY}.governor".encode())
    assert kept is not None
    assert json.loads(kept)["roles"] == ["governor"]


Spoil = Callable[[], Any]
WRONG: dict[str, tuple[Spoil, str]] = {
    "of no entity": (lambda: with_governors(governor("stranger")), "of no entity"),
    "named twice": (lambda: with_governors(governor(), governor()), "named twice"),
    "a vote key": (lambda: with_governors(governor(key="shandong/1/2")), "would govern"),
    "a lost vote key": (lambda: with_governors(governor(key="shandong/0/3")), "would govern"),
    "another role too": (
        lambda: with_governors(governor(roles=["governor", "clerk"])),
        "other roles",
    ),
    "not canonical": (
        lambda: replace(RESTART.statement, governors=(json.dumps(governor()).encode(),)),
        "not canonical",
    ),
    "no identity": (lambda: replace(RESTART.statement, governors=(b"{}",)), "missing or unknown"),
    "no JSON": (lambda: replace(RESTART.statement, governors=(b"{",)), "not JSON"),
}


@pytest.mark.req("G2-16-3", "G2-16-4")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_governor_is_refused(name: str) -> None:
    spoil, why = WRONG[name]
    with pytest.raises(ProofError, match=why) as error:
        check_against_state(state_with(), spoil())
    assert error.value.code == "RESTART_INVALID"


@pytest.mark.req("G2-16-4")
def test_an_identity_that_is_no_governor_does_not_become_one() -> None:
    """Otherwise a restart could hand a clerk's name to somebody else."""
    state, record = state_with(), CASE.record(NEW_ENTITY, roles=["clerk"])
    state.values[f"identity/did/{record['did']}".encode()] = canonical_json(record)
    with pytest.raises(ProofError, match="known and no governor"):
        check_against_state(state, with_governors(governor()))


def with_uses(state: MemoryState, public_key: bytes, use: str) -> MemoryState:
    state.values[f"identity/use/{public_key.hex()}".encode()] = canonical_json(use)
    return state


@pytest.mark.req("G2-16-3")
@pytest.mark.parametrize("use", ["GOVERNANCE", "SIGNING", "RESTART"])
def test_a_key_of_another_use_gets_no_vote(use: str) -> None:
    state = with_uses(state_with(), RESTART.statement.new_set.members[3].public_key, use)
    with pytest.raises(ProofError, match=f"is for {use}, not for VOTE") as error:
        check_against_state(state, RESTART.statement)
    assert error.value.code == "RESTART_INVALID"


@pytest.mark.req("G2-16-3")
@pytest.mark.parametrize("use", ["VOTE", "SIGNING", "RESTART"])
def test_a_key_of_another_use_does_not_govern(use: str) -> None:
    state = with_uses(state_with(), CASE.keys.public_key("new-governor"), use)
    with pytest.raises(ProofError, match=f"is for {use}, not for GOVERNANCE"):
        check_against_state(state, with_governors(governor()))


@pytest.mark.req("G2-16-3")
def test_the_keys_of_a_restart_have_their_use_from_then_on() -> None:
    restart = replace(RESTART, statement=with_governors(governor()))
    state = restarted(state_with(), [restart])
    vote_key = restart.statement.new_set.members[3].public_key
    for public_key, use in (
        (vote_key, b'"VOTE"'),
        (CASE.keys.public_key("new-governor"), b'"GOVERNANCE"'),
    ):
        assert state.get(f"identity/use/{public_key.hex()}".encode()) == use


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("number", [0, 3])
def test_a_guilty_key_neither_stays_nor_comes_back(number: int) -> None:
    """Replica 0 keeps its key; it was not jailed, for f others were."""
    state = state_with()
    key = RESTART.statement.new_set.members[number].public_key.hex()
    state.values[f"evidence/key/{key}".encode()] = b"{}"
    with pytest.raises(ProofError, match="known as guilty"):
        check_against_state(state, RESTART.statement)
