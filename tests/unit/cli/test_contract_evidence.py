"""The report of `guqiao contract test` names the static analysis and the run on a test network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import canonical_json
from guqiaoctl.commands.releases import report_for
from guqiaoctl.failures import CliError
from tests.unit.cli.running import Command, Ended
from tests.unit.cli.test_contract_commands import command

__all__ = ["command"]

FOLDER: Final = Path(__file__).parents[3] / "data" / "templates"
SOURCE: Final = FOLDER / "transfer.star"
TEMPLATE: Final = FOLDER / "transfer.yaml"
RUN: Final = f"shandong/{'4d' * 32}"


def report_of(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert isinstance(found, dict)
    return found


@pytest.mark.req("G2-16-5")
def test_a_report_names_tool_version_findings_and_run(command: Command) -> None:
    told = report_of(command("test", SOURCE, "--test-run", RUN, "-o", "json"))
    assert told["test_run"] == {"chain": "shandong", "transaction": "4d" * 32}
    analysis = told["analysis"]
    assert (analysis["tool"], analysis["found"]) == ("guqiao contract lint", [])
    assert analysis["findings"] == sm3(b"[]").hex()
    assert analysis["version"]
    assert "test_run" not in report_of(command("test", SOURCE, "-o", "json"))


@pytest.mark.req("G2-16-5")
def test_what_does_not_keep_to_the_template_is_found_without_running_it(
    command: Command, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.star"
    odd.write_text(SOURCE.read_text().replace('"transfer.rejected"', '"transfer.sent_back"'))
    cases = FOLDER / "transfer.cases.json"
    ended = command("test", odd, "--cases", cases, "--template", TEMPLATE, "-o", "json")
    analysis = json.loads(ended.out)["analysis"]
    assert "transfer.rejected" in str(analysis["found"])
    assert analysis["findings"] == sm3(canonical_json(analysis["found"])).hex()


@pytest.mark.parametrize(
    "wrong", ["", "shandong", "shandong/4d", f"Shandong/{'4d' * 32}", RUN + "0"]
)
def test_what_names_no_transaction_is_refused(command: Command, wrong: str) -> None:
    ended = command("test", SOURCE, "--test-run", wrong, "-o", "json")
    assert (ended.code, ended.err.split(":")[0]) == (2, "REQUEST_MALFORMED")


@pytest.mark.req("G2-16-5")
def test_what_a_chain_is_brought_is_what_its_version_asks_for(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_text(command("test", SOURCE, "--test-run", RUN, "-o", "json").out)
    told = json.loads(path.read_text())
    asked = {"report", "form", "passed", "failed"}
    assert report_for(path, 3).keys() == asked
    brought = report_for(path, 4)
    assert brought.keys() == asked | {"analysis", "test_run"}
    assert brought["report"] == sm3(path.read_bytes()).hex()
    analysis = {name: told["analysis"][name] for name in ("tool", "version", "findings")}
    assert brought["analysis"] == analysis
    path.write_text(json.dumps({name: told[name] for name in ("form", "passed", "failed")}))
    assert report_for(path, 4).keys() == asked, "the chain refuses it with code and remedy"
    path.write_text("[]")
    with pytest.raises(CliError, match="CONTRACT_UNTESTED"):
        report_for(path, 4)
