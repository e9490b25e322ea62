"""`guqiao contract` on a running network: a contract is deployed, called, upgraded, stopped, ended.

Goal: what operators do with a contract in star/1, from its source to its end, with the ways to do
it wrong. Method: a network of its own, on which the CSRC publishes a template of the common set and
the four entities decide by their governors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import OneMachine

FOLDER: Final = Path(__file__).parents[2] / "data" / "templates"
SOURCE: Final = FOLDER / "transfer.star"
TEMPLATE: Final = FOLDER / "transfer.yaml"
APPLIED: Final = {
    "transfer_id": "T1",
    "product": "P1",
    "seller": "A1",
    "buyer": "A2",
    "shares": 3,
    "price": 100,
}

pytestmark = [pytest.mark.end_to_end]


def release(
    machine: OneMachine, folder: Path, source: Path, version: str = "transfer@1"
) -> tuple[str, str, str, Path, str, Path]:
    """What goes with a source: template, the report of the template's cases, risk review."""
    risks, report = folder / "risks.txt", folder / f"{source.stem}.report.json"
    risks.write_text("无重大风险")
    cases = FOLDER / "transfer.cases.json"
    run = ("--test-run", f"shandong/{'1a' * 32}")
    tested = machine.run("contract", "test", source, "--cases", cases, *run, "-o", "json")
    report.write_text(tested.out)
    return ("--template", version, "--tests", report, "--risk-review", risks)


def with_steps(folder: Path, steps: int) -> Path:
    """The contract with another bound."""
    path = folder / f"steps_{steps}.star"
    path.write_text(SOURCE.read_text().replace("STEPS_MAX = 1000", f"STEPS_MAX = {steps}"))
    return path


def decide(machine: OneMachine, *proposing: object, by: tuple[int, ...]) -> Any:
    """Propose as governor 0, approve as the others; what the last approval says."""
    proposal = machine.must("contract", *proposing, "--governor", 0).out.strip()
    for governor in by:
        approving = ("contract", "approve", "transfer", proposal, "--governor", governor)
        answer = machine.must(*approving, "-o", "json")
    return answer.json()


def apply(machine: OneMachine, **also: Any) -> Any:
    arguments = json.dumps(APPLIED | also)
    call = ("contract", "call", "transfer", "--method", "apply", "--args", arguments)
    return machine.run(*call, "-o", "json")


@pytest.mark.req("G2-08-1", "G2-08-4", "G2-05-5", "G2-14-4", "G2-16-5", "G2-16-6")
def test_the_entities_take_a_contract_through_its_life(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    name = ("--name", "transfer")
    assert apply(one_machine).error == "CONTRACT_UNKNOWN"
    brought = release(one_machine, tmp_path, SOURCE)
    deploying = ("contract", "deploy", SOURCE, *name, *brought, "--governor", 0)
    early = one_machine.run(*deploying)
    assert (early.error, early.code) == ("TEMPLATE_UNKNOWN", 3)
    one_machine.must("template", "publish", TEMPLATE)
    assert decide(one_machine, "deploy", SOURCE, *name, *brought, by=(1, 2))["status"] == "active"
    refused = apply(one_machine)
    assert (refused.error, refused.code) == ("CONTRACT_REFUSED", 5)
    assert "SHARES_INSUFFICIENT (facts_withheld=RESTRICTED)" in refused.err
    personal = apply(one_machine, seller="A1 13900000000")
    assert (personal.error, personal.code) == ("TIER_NONPUBLIC_ONCHAIN", 2)
    assert "13900000000" not in personal.err
    read = ("contract", "call", "transfer", "--method", "position")
    look = (*read, "--args", '{"product": "P1", "seller": "A1"}', "-o", "json")
    told = one_machine.must(*look).json()
    assert (told["chain"], told["result_withheld"], "result" in told) == (
        MARKET,
        "RESTRICTED",
        False,
    )
    unread = one_machine.run(*look, "--account", "governor-0")
    assert (unread.error, unread.code) == ("READ_CONDITION_UNMET", 4)
    assert told["gas"] > 0

    upgrade, other = (
        ("upgrade", changed, *name, "--compatible", *release(one_machine, tmp_path, changed))
        for changed in (with_steps(tmp_path, 900), with_steps(tmp_path, 800))
    )
    open_one = one_machine.must("contract", *upgrade, "--governor", 0).out.strip()
    shown = one_machine.must("contract", "show", "transfer", "-o", "json").json()
    assert (shown["contract"]["version"], shown["contract"]["status"]) == (1, "active")
    assert shown["contract"]["template"]["id"] == "transfer"
    assert [each["id"] for each in shown["proposals"]] == [open_one]
    assert shown["proposals"][0]["facts"]["compatible"] is True
    table = one_machine.must("contract", "show", "transfer").out
    assert open_one in table
    assert "COMMON" in table
    decide(one_machine, *upgrade, by=(1, 2))

    why = ("--reason", "审计")
    assert decide(one_machine, "pause", "transfer", *why, by=(3,))["status"] == "paused"
    assert apply(one_machine).error == "CONTRACT_PAUSED"
    assert decide(one_machine, "resume", "transfer", *why, by=(1, 3))["status"] == "active"
    late = one_machine.must("contract", *other, "--governor", 0, "-o", "json").json()
    one_machine.must("template", "retire", "transfer", 1, "--reason", "由新模板替代")
    approving = ("contract", "approve", "transfer", late["transaction"], "--governor", 1)
    refused = one_machine.run(*approving)
    assert (refused.error, refused.code) == ("TEMPLATE_NOT_FILED", 5)
    assert "RETIRED" in refused.err
    assert decide(one_machine, "destroy", "transfer", *why, by=(1, 2))["status"] == "destroyed"
    assert apply(one_machine).error == "CONTRACT_DESTROYED"


@pytest.mark.req("G2-08-4", "G2-16-5")
def test_what_is_wrong_is_refused_in_both_languages(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.star"
    bad.write_text("import os\n")
    odd = tmp_path / "odd.star"
    odd.write_text(SOURCE.read_text().replace('"transfer.rejected"', '"transfer.sent_back"'))
    one_machine.run("template", "publish", TEMPLATE)  # Whether or not it was before.
    governor = ("--governor", 0)
    right, other = release(one_machine, tmp_path, SOURCE), ("--name", "other")
    later, unversioned = (
        release(one_machine, tmp_path, SOURCE, each) for each in ("transfer@2", "transfer")
    )
    failing = release(one_machine, tmp_path, odd)
    hasty = (*right[:3], tmp_path / "hasty.json", *right[4:])
    hasty[3].write_text(json.dumps(json.loads(right[3].read_text()) | {"test_run": None}))
    no_report = ("--template", "transfer@1", "--tests", bad, "--risk-review", bad)
    wrong: list[tuple[list[object], str, int]] = [
        (["deploy", bad, *other, *right, *governor], "CONTRACT_SOURCE_REFUSED", 7),
        (["deploy", SOURCE, "--name", "register", *right, *governor], "CONTRACT_NAME_TAKEN", 5),
        (["deploy", SOURCE, "--name", "Other", *right, *governor], "BODY_MALFORMED", 2),
        (["deploy", SOURCE, *other, *right, "--governor", 4], "REQUEST_MALFORMED", 2),
        (["deploy", tmp_path / "none", *other, *right, *governor], "FILE_UNREADABLE", 3),
        (["deploy", SOURCE, *other, *governor], "REQUEST_MALFORMED", 2),
        (["deploy", SOURCE, *other, *no_report, *governor], "CONTRACT_UNTESTED", 5),
        (["deploy", odd, *other, *right, *governor], "CONTRACT_UNTESTED", 5),
        (["deploy", SOURCE, *other, *hasty, *governor], "CONTRACT_TEST_RUN_MISSING", 5),
        (["deploy", odd, *other, *failing, *governor], "CONTRACT_UNTESTED", 5),
        (["deploy", SOURCE, *other, *later, *governor], "TEMPLATE_UNKNOWN", 3),
        (["deploy", SOURCE, *other, *unversioned, *governor], "REQUEST_MALFORMED", 2),
        (["approve", "other", "00" * 32, *governor], "PROPOSAL_UNKNOWN", 3),
        (["show", "other"], "CONTRACT_UNKNOWN", 3),
        (["pause", "other", "--reason", "x", *governor], "CONTRACT_UNKNOWN", 3),
        (["call", "other", "--method", "f", "--args", "["], "REQUEST_MALFORMED", 2),
        (["call", "other", "--method", "f", "--account", "nobody"], "REQUEST_MALFORMED", 2),
        (["call", "other", "--method", "f", "--checker", "nobody"], "REQUEST_MALFORMED", 2),
        (["call", "other", "--method", "f", "--chain", "beijing"], "REQUEST_MALFORMED", 2),
    ]
    for arguments, code, exit_code in wrong:
        for language in ("en", "zh"):
            answer = one_machine.run("contract", *arguments, language=language)
            assert (answer.error, answer.code) == (code, exit_code), answer.err
            assert any("\u4e00" <= each <= "\u9fff" for each in answer.err) is (language == "zh")
