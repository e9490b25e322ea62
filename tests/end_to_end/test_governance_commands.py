"""`guqiao governance` on a running network: a vote key is replaced on both chains, work goes on.

Goal: what people do to change a replica set, with every way to do it wrong. Method: a network of
its own; the key that comes is nobody's, so its replica follows on and three of four go on voting.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.network.parties import CSRC, MARKET
from tests.end_to_end.harness import TINY, OneMachine, wait_until
from tests.end_to_end.registered import state_next_set

REGISTRATION = "6453416b-fe1f-456e-a698-af9f2dc96f61"
"""A request of market-tiny that sends a data object."""

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-10-3", "G2-16-3")]


def a_vote_key() -> str:
    return open_provider().keygen().public_key.hex()


def status(machine: OneMachine, chain: str) -> dict[str, Any]:
    found: dict[str, Any] = machine.must(
        "governance", "status", "--chain", chain, "-o", "json"
    ).json()
    return found


def propose(machine: OneMachine, chain: str, *how: object) -> str:
    answer = machine.must("governance", "propose", "--chain", chain, "--governor", 0, *how)
    return answer.out.strip()


def approve(machine: OneMachine, chain: str, proposal: str, governor: int) -> None:
    machine.must("governance", "approve", proposal, "--chain", chain, "--governor", governor)


def test_the_entities_replace_a_vote_key_of_each_chain_and_registrations_are_proven_as_ever(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    for chain in (MARKET, CSRC):
        before = status(one_machine, chain)
        assert (before["epoch"], before["scheduled"], before["proposals"]) == (0, [], [])
        private = open_provider().keygen()
        key = private.public_key.hex()
        if chain == MARKET:
            state_next_set(one_machine, {3: private}, tmp_path)
        proposal = propose(one_machine, chain, *next_set(before, key, tmp_path, chain))
        shown = status(one_machine, chain)["proposals"]
        assert [each["id"] for each in shown] == [proposal]
        assert len(shown[0]["approvals"]) == 1, "who proposes approves"
        approve(one_machine, chain, proposal, 1)
        assert status(one_machine, chain)["scheduled"] == [], "two of four are not enough"
        approve(one_machine, chain, proposal, 2)

        def is_in_force(chain: str = chain) -> bool:
            return bool(status(one_machine, chain)["epoch"] == 1)

        wait_until(f"the next set of {chain} is in force", is_in_force)
        after = status(one_machine, chain)
        assert [member["vote_key"] for member in after["members"]] == [
            *(member["vote_key"] for member in before["members"][:3]),
            key,
        ]
        assert after["proposals"] == []
    assert one_machine.must("import", TINY, "-o", "json").json()["accepted"] > 0
    found = one_machine.must("tx", "find", REGISTRATION, "-o", "json").json()
    bundle = tmp_path / "registration.gqb"

    def is_proven() -> bool:
        answer = one_machine.run("tx", "proof", found["transaction"], "--to", bundle)
        return answer.code == 0

    wait_until("the registration is anchored under the next sets", is_proven)
    trust = one_machine.folder / "trust.json"
    judged = one_machine.must("verify", bundle, "--trust", trust, "-o", "json")
    assert judged.json(), "who trusts both genesis sets alone believes both next ones"
    shown = one_machine.must("chain", "show", MARKET, "-o", "json").json()
    assert (shown["standing"]["status"], shown["standing"]["version"]) == ("ACTIVE", 2)
    renew_trust(one_machine, bundle, trust)


def renew_trust(machine: OneMachine, bundle: Path, trust: Path) -> None:
    """The file goes on to the present sets by what the chains prove, and believes what it did."""
    told = machine.must("trust", "renew", "-o", "json").json()
    assert [(each["from_height"], each["epoch"]) for each in told["chains"]] == [(0, 1), (0, 1)]
    shown = machine.must("trust", "show", trust, "-o", "json").json()
    for chain, renewed in zip(shown["chains"], told["chains"], strict=True):
        assert [point["epoch"] for point in chain["checkpoints"]] == [0, 1]
        assert chain["checkpoints"][-1]["height"] == renewed["height"] > 0
    assert machine.must("verify", bundle, "--trust", trust, "-o", "json").json()
    again = machine.must("trust", "renew", "-o", "json").json()
    assert [each["new_checkpoints"] for each in again["chains"]] <= [1, 1]


def next_set(before: dict[str, Any], key: str, folder: Path, chain: str) -> list[object]:
    """The same change in both of its forms: as an option, and as a file with the whole set."""
    if chain == MARKET:
        return ["--replace", f"3={key}"]
    members = [
        {name: member[name] for name in ("entity_id", "entity_name", "vote_key")}
        for member in before["members"]
    ]
    members[3]["vote_key"] = key
    file = folder / "next.json"
    file.write_text(json.dumps({"members": members, "governors": [], "not_before": 0}))
    return ["--file", file]


def test_what_is_wrong_is_refused_in_both_languages_and_changes_nothing(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    present = status(one_machine, MARKET)
    same = f"0={present['members'][0]['vote_key']}"
    stranger, scribble = a_vote_key(), tmp_path / "scribble.json"
    scribble.write_text("{")
    me = ("--governor", 0)
    wrong: list[tuple[list[object], str, int]] = [
        (["propose", *me, "--replace", same], "SET_UNCHANGED", 2),
        (["propose", *me, "--replace", "0=04abcd"], "REPLICA_SET_INVALID", 2),
        (["propose", *me, "--replace", f"9={stranger}"], "REQUEST_MALFORMED", 2),
        (["propose", *me, "--replace", stranger], "REQUEST_MALFORMED", 2),
        (["propose", *me, "--file", scribble], "REQUEST_MALFORMED", 2),
        (["propose", *me, "--file", tmp_path / "none.json"], "FILE_UNREADABLE", 3),
        (["propose", *me], "REQUEST_MALFORMED", 2),
        (["propose", "--governor", 4, "--replace", f"0={stranger}"], "REQUEST_MALFORMED", 2),
        (["approve", "00" * 32, *me], "PROPOSAL_UNKNOWN", 3),
        (["status", "--chain", "beijing"], "REQUEST_MALFORMED", 2),
    ]
    for arguments, code, exit_code in wrong:
        for language in ("en", "zh"):
            answer = one_machine.run("governance", *arguments, language=language)
            assert (answer.error, answer.code) == (code, exit_code), answer.err
            assert any("\u4e00" <= each <= "\u9fff" for each in answer.err) is (language == "zh")
    assert status(one_machine, MARKET)["proposals"] == []


def test_a_table_shows_who_votes(one_machine: OneMachine) -> None:
    shown = one_machine.must("governance", "status", "--chain", CSRC).out.splitlines()
    assert shown[0].split() == ["CHAIN", "EPOCH", "FROM", "REPLICA", "ENTITY", "NAME", "VOTES"]
    assert len(shown) == 5
    assert all(line.endswith("yes") for line in shown[1:])
