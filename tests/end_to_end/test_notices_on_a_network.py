"""`guqiao notice` on a running network: an upgrade is filed, judged, tested and scheduled.

Goal: what an operator and the CSRC do by hand, through real signatures, limits and proofs of state,
with the ways to do it wrong. The days of a cut-over do not pass here: block time is the clock's.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.working_days import day_of, published
from guqiaoctl.commands.chain_calls import accepted, submit
from guqiaoctl.network.parties import CSRC, OPERATOR
from services.consensus.domain.contracts.notice.standing import DOCUMENTS, Kind
from tests.end_to_end.harness import Answer, OneMachine
from tests.unit.contracts.notice_market import BREAKING, COMPATIBLE, FIGURES, OLD, digest

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-14-2", "G2-14-4", "G2-14-5")]

FAR_DAYS: Final = 100
"""Later than twenty working days, whatever is off."""


class Days:
    """Days from the one on which the test began."""

    def __init__(self) -> None:
        self.first = day_of(datetime.now(UTC))

    def __call__(self, days: int = FAR_DAYS) -> str:
        return (self.first + timedelta(days=days)).isoformat()


def publish_years(machine: OneMachine) -> None:
    """Put years in force that the release does not know yet, so that no date of a run matters."""
    this_year = day_of(datetime.now(UTC)).year
    for year in {this_year, this_year + 1} - published().years.keys():
        body: dict[str, Json] = {"year": year, "notices": ["演示"], "off": [], "worked": []}
        call = ("calendar", "publish", body)
        result = submit(machine.network, CSRC, call, maker="market", checker="tech")
        accepted(asyncio.run(result))


def written(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


class Operator:
    """Files notices with all documents, which lie in a folder."""

    def __init__(self, machine: OneMachine, folder: Path, far: Days) -> None:
        self.machine = machine
        self.folder = folder
        self.far = far

    def file(
        self, kind: Kind, interface: Any, *verb: object, cutover: str = "", without: str = ""
    ) -> Answer:
        given: list[object] = []
        for name in DOCUMENTS[kind]:
            if name != without:
                given += ["--document", f"{name}={written(self.folder, name, name)}"]
        file = written(self.folder, "next.json", interface)
        options = ["--kind", kind.value.lower(), "--cutover", cutover or self.far(), *given]
        return self.machine.run("notice", *(verb or ("file",)), file, *options, "-o", "json")


def refuse_wrong_filings(operator: Operator) -> None:
    soon = operator.far(1)
    for answer, exit_code, code in (
        (operator.file(Kind.INTERFACE, BREAKING), 5, "UPGRADE_MISCLASSIFIED"),
        (operator.file(Kind.INCOMPATIBLE, BREAKING, cutover=soon), 5, "UPGRADE_LEAD_TOO_SHORT"),
        (
            operator.file(Kind.INCOMPATIBLE, BREAKING, without="explanation"),
            2,
            "UPGRADE_DOCUMENT_MISSING",
        ),
        (operator.machine.run("notice", "show", 1), 3, "UPGRADE_NOTICE_UNKNOWN"),
    ):
        assert (answer.code, answer.error) == (exit_code, code), answer.err


def refuse_steps_of_another_state(machine: OneMachine, folder: Path) -> None:
    """Well-formed and signed by whose they are, of a notice that is scheduled."""
    figures = written(folder, "figures", FIGURES)
    for step in (
        ("compare", 1, "--before", figures, "--after", figures),
        ("verify", 1, "--object", "shandong:subject:1/0"),
        ("roll-back", 1, "--reason", "回退"),
        ("close", 1),
        ("ack", 1),
    ):
        answer = machine.run("notice", *step)
        assert (answer.code, answer.error) == (5, "ILLEGAL_TRANSITION"), answer.err


def test_a_notice_is_filed_tested_and_scheduled_and_not_cut_over_before_its_day(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    def step(verb: str, number: int, *more: object) -> Any:
        return one_machine.must("notice", verb, number, *more, "-o", "json").json()

    publish_years(one_machine)
    far = Days()
    operator = Operator(one_machine, tmp_path, far)
    early = operator.file(Kind.INCOMPATIBLE, BREAKING)
    assert (early.code, early.error) == (5, "UPGRADE_INTERFACE_UNKNOWN")
    told = one_machine.must("notice", "adopt", written(tmp_path, "old", OLD), "-o", "json").json()
    assert (told["interface"], told["model_version"]) == (digest(OLD), "guqiao-1")
    assert one_machine.must("notice", "interface", "-o", "json").json() == OLD
    assert "object.subject" in one_machine.must("notice", "interface").out
    compared = one_machine.must(
        "notice", "diff", written(tmp_path, "new", BREAKING), "-o", "json"
    ).json()
    assert compared["compatible"] is False

    refuse_wrong_filings(operator)
    filed = operator.file(Kind.INCOMPATIBLE, BREAKING).json()
    facts = (filed["number"], filed["status"], filed["planned"], filed["compatible"])
    assert facts == (1, "NOTIFIED", far(), False)
    assert filed["earliest"] > far(20)
    assert step("object", 1, "--reason", "回退方案不完整")["status"] == "OBJECTED"
    again = operator.file(Kind.INCOMPATIBLE, BREAKING, "refile", 1).json()
    assert (again["status"], again["earliest"]) == ("NOTIFIED", filed["earliest"])
    asked = step("ack", 1, "--working-days", 25)
    assert (asked["status"], asked["working_days"]) == ("ACKNOWLEDGED", 25)
    report = written(tmp_path, "report", "联调报告")
    assert step("open-test", 1)["status"] == "JOINT_TESTING"
    assert step("fail-test", 1, "--report", report)["status"] == "TEST_FAILED"
    assert step("replan", 1, "--cutover", far(110))["planned"] == far(110)
    untested = one_machine.run("notice", "schedule", 1, "--cutover", far(110))
    assert (untested.code, untested.error) == (5, "ILLEGAL_TRANSITION")
    step("open-test", 1)
    step("pass-test", 1, "--report", report)
    dates = ("--cutover", far(120), "--old-until", far(130))
    scheduled = step("schedule", 1, *dates)
    assert (scheduled["status"], scheduled["old_until"]) == ("SCHEDULED", far(130))
    switched = one_machine.run("notice", "cutover", 1, language="zh")
    assert (switched.code, switched.error) == (5, "UPGRADE_CUTOVER_EARLY")
    assert far(120) in switched.err

    refuse_steps_of_another_state(one_machine, tmp_path)

    listed = one_machine.must("notice", "ls", "-o", "json").json()
    assert [(each["number"], each["status"]) for each in listed["notices"]] == [(1, "SCHEDULED")]
    assert (listed["latest"], listed["model_version"]) == (1, "guqiao-1")
    shown = one_machine.must("notice", "show", 1, "-o", "json").json()
    assert (shown["old"], shown["new"]) == (digest(OLD), digest(BREAKING))
    assert set(shown["documents"]) == set(DOCUMENTS[Kind.INCOMPATIBLE])
    assert shown["organisation"] == OPERATOR.did
    assert "status: SCHEDULED\n" in one_machine.must("notice", "show", 1).out

    assert step("cancel", 1, "--reason", "升级取消")["status"] == "CANCELLED"
    assert operator.file(Kind.INTERFACE, COMPATIBLE).json()["number"] == 2
    table = one_machine.must("notice", "ls").out.splitlines()
    assert [row.split()[:3] for row in table[1:]] == [
        ["2", "INTERFACE", "NOTIFIED"],
        ["1", "INCOMPATIBLE", "CANCELLED"],
    ]
