"""`guqiao contract` on a running network: a contract is deployed, called, upgraded, stopped, ended.

Goal: what operators do with a contract in star/1, from its source to its end, with the ways to do
it wrong. Method: a network of its own, whose four entities decide by their governors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import OneMachine

pytestmark = [pytest.mark.end_to_end]

COUNTER = """ACCESS = {"read": [], "write": ["n/"]}

def add(who, count):
    require("operator_maker" in sender()["roles"], "ROLE_MISSING", role="operator_maker")
    require(count > 0, "COUNT_INVALID", count=count)
    put("n/" + who, (get("n/" + who) or 0) + count)
    emit("added", {"who": who, "count": count})
    return get("n/" + who)
"""
READ = COUNTER + '\ndef of(who):\n    return get("n/" + who)\n'
BROKEN = COUNTER.replace("def add(who, count)", "def add(who, count, why)")


def file_of(folder: Path, text: str) -> Path:
    path = folder / "counter.star"
    path.write_text(text)
    return path


def decide(machine: OneMachine, *proposing: object, by: tuple[int, ...]) -> Any:
    """Propose as governor 0, approve as the others; what the last approval says."""
    proposal = machine.must("contract", *proposing, "--governor", 0).out.strip()
    for governor in by:
        approving = ("contract", "approve", "counter", proposal, "--governor", governor)
        answer = machine.must(*approving, "-o", "json")
    return answer.json()


def add(machine: OneMachine, count: int, **also: Any) -> Any:
    arguments = json.dumps({"who": "x", "count": count} | also)
    call = ("contract", "call", "counter", "--method", "add", "--args", arguments)
    return machine.run(*call, "-o", "json")


@pytest.mark.req("G2-08-1", "G2-05-5", "G2-14-4")
def test_the_entities_take_a_contract_through_its_life(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    name = ("--name", "counter")
    assert add(one_machine, 1).error == "CONTRACT_UNKNOWN"
    file = file_of(tmp_path, COUNTER)
    assert decide(one_machine, "deploy", file, *name, by=(1, 2))["status"] == "active"
    told = add(one_machine, 2).json()
    assert (told["chain"], told["result"]) == (MARKET, 2)
    assert told["gas"] > 0
    refused = add(one_machine, 0)
    assert (refused.error, refused.code) == ("CONTRACT_REFUSED", 5)
    assert "counter:5: COUNT_INVALID (count=0)" in refused.err

    upgrade = ("contract", "upgrade", *name, "--governor", 0, "--compatible")
    misclassified = one_machine.run(*upgrade, file_of(tmp_path, BROKEN))
    assert misclassified.error == "UPGRADE_MISCLASSIFIED"
    file = file_of(tmp_path, READ)
    open_one = one_machine.must(*upgrade, file).out.strip()
    shown = one_machine.must("contract", "show", "counter", "-o", "json").json()
    assert (shown["contract"]["version"], shown["contract"]["status"]) == (1, "active")
    assert [each["id"] for each in shown["proposals"]] == [open_one]
    assert shown["proposals"][0]["facts"]["compatible"] is True
    table = one_machine.must("contract", "show", "counter").out
    assert open_one in table
    decide(one_machine, "upgrade", file, *name, "--compatible", by=(1, 2))
    read = ("contract", "call", "counter", "--method", "of", "--args", '{"who": "x"}')
    assert one_machine.must(*read, "-o", "json").json()["result"] == 2

    why = ("--reason", "审计")
    assert decide(one_machine, "pause", "counter", *why, by=(3,))["status"] == "paused"
    assert add(one_machine, 1).error == "CONTRACT_PAUSED"
    assert decide(one_machine, "resume", "counter", *why, by=(1, 3))["status"] == "active"
    assert add(one_machine, 1).json()["result"] == 3
    assert decide(one_machine, "destroy", "counter", *why, by=(1, 2))["status"] == "destroyed"
    assert add(one_machine, 1).error == "CONTRACT_DESTROYED"


def test_what_is_wrong_is_refused_in_both_languages(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    good = tmp_path / "good.star"
    good.write_text(COUNTER)
    bad = tmp_path / "bad.star"
    bad.write_text("import os\n")
    governor = ("--governor", 0)
    wrong: list[tuple[list[object], str, int]] = [
        (["deploy", bad, "--name", "other", *governor], "CONTRACT_SOURCE_REFUSED", 7),
        (["deploy", good, "--name", "register", *governor], "CONTRACT_NAME_TAKEN", 5),
        (["deploy", good, "--name", "Other", *governor], "BODY_MALFORMED", 2),
        (["deploy", good, "--name", "other", "--governor", 4], "REQUEST_MALFORMED", 2),
        (["deploy", tmp_path / "none", "--name", "other", *governor], "FILE_UNREADABLE", 3),
        (["approve", "other", "00" * 32, *governor], "PROPOSAL_UNKNOWN", 3),
        (["show", "other"], "CONTRACT_UNKNOWN", 3),
        (["pause", "other", "--reason", "x", *governor], "CONTRACT_UNKNOWN", 3),
        (["call", "other", "--method", "f", "--args", "["], "REQUEST_MALFORMED", 2),
        (["call", "other", "--method", "f", "--account", "nobody"], "REQUEST_MALFORMED", 2),
        (["call", "other", "--method", "f", "--chain", "beijing"], "REQUEST_MALFORMED", 2),
    ]
    for arguments, code, exit_code in wrong:
        for language in ("en", "zh"):
            answer = one_machine.run("contract", *arguments, language=language)
            assert (answer.error, answer.code) == (code, exit_code), answer.err
            assert any("\u4e00" <= each <= "\u9fff" for each in answer.err) is (language == "zh")
