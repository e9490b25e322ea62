"""`guqiao contract run`, `gas`, `test` with a template's tiers, and `call` before it sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.running import Command
from tests.unit.cli.test_contract_commands import command
from tests.unit.templates.common_walks import WALKS
from tests.unit.templates.template_market import template

__all__ = ["command"]

FOLDER = Path(__file__).parents[3] / "data" / "templates"
TEMPLATE = FOLDER / "subject.yaml"
CONTRACT = FOLDER / "subject.star"
MOBILE = "13800138000"
PERSON = {
    "subject_id": "S1",
    "region": "370102",
    "identity_digest": "5a" * 32,
    "identity_reference": "vault:1",
}
SIGNED = ["--method", "register_person", "--sender-role", "registrar"]


def spoiled(folder: Path, old: str, new: str) -> Path:
    """The contract of the template with one place changed."""
    text = CONTRACT.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = folder / "subject.star"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def arguments(**changes: Any) -> list[str]:
    return ["--args", json.dumps(PERSON | changes, ensure_ascii=False)]


@pytest.mark.req("G2-17-4", "G2-17-7")
def test_a_contract_that_keeps_to_its_tiers_runs_and_pays_for_the_check(command: Command) -> None:
    free = command("run", CONTRACT, *SIGNED, *arguments(), "-o", "json")
    told = command("run", CONTRACT, *SIGNED, *arguments(), "--template", TEMPLATE, "-o", "json")
    assert (free.code, told.code) == (0, 0)
    assert told.json["writes"] == free.json["writes"]
    assert told.json["gas_used"] > free.json["gas_used"]
    gas = command("gas", CONTRACT, *SIGNED, *arguments(), "--template", TEMPLATE, "-o", "json")
    assert gas.json["gas_used"] == told.json["gas_used"]


@pytest.mark.req("G2-17-4", "G2-17-7")
@pytest.mark.parametrize(
    ("old", "new", "code", "facts"),
    [
        (
            '        "registered_name": registered_name,\n',
            "",
            "TIER_PUBLIC_NOT_ONCHAIN",
            {"why": "missing", "field": "registered_name", "group": "subject", "key": "subject/S1"},
        ),
        (
            '"reference": reference, "owner"',
            '"reference": reference + " 示例", "owner"',
            "TIER_NONPUBLIC_ONCHAIN",
            {
                "why": "not_described",
                "field": "reference",
                "group": "identity",
                "key": "identity/S1",
            },
        ),
        (
            '    put("identity/" + subject_id,',
            '    put("elsewhere/" + subject_id,',
            "TIER_UNCLASSIFIED",
            {"why": "unknown", "key": "elsewhere/S1"},
        ),
        (
            '"kind": "PERSON", "state"',
            '"kind": "PERSON", "region": {"of": region}, "state"',
            "TIER_PUBLIC_NOT_ONCHAIN",
            {"why": "type", "field": "region"},
        ),
    ],
)
def test_a_write_in_the_wrong_tier_has_its_code_line_and_facts_at_home(
    command: Command, tmp_path: Path, old: str, new: str, code: str, facts: dict[str, str]
) -> None:
    made = spoiled(tmp_path, old, new)
    if "elsewhere/" in new:
        text = made.read_text(encoding="utf-8")
        made.write_text(text.replace('"identity/", ', '"identity/", "elsewhere/", '))
    run = ["run", made, *SIGNED, *arguments()]
    assert command(*run).code == 0
    word = "emit(" if "region" in new else "put("
    ended = command(*run, "--template", TEMPLATE, "-o", "json")
    assert ended.code == 5
    told = ended.json
    assert (told["status"], told["code"], told["fields"]) == ("error", code, facts)
    assert (told["writes"], told["events"]) == ({}, [])
    assert word in made.read_text(encoding="utf-8").split("\n")[told["line"] - 1]
    assert ended.err.startswith(f"{code}: {made}:{told['line']}: ")


@pytest.mark.req("G2-17-7")
def test_arguments_with_a_number_of_a_person_are_refused_and_never_shown(command: Command) -> None:
    given = arguments(identity_reference=f"电话{MOBILE}")
    run = ["run", CONTRACT, *SIGNED, *given, "--template", TEMPLATE]
    ended = command(*run, "-o", "json")
    assert (ended.code, ended.json["code"], ended.json["line"]) == (5, "TIER_NONPUBLIC_ONCHAIN", 0)
    assert ended.json["fields"] == {
        "why": "personal",
        "kind": "PHONE",
        "argument": "$.identity_reference",
    }
    assert MOBILE not in ended.out + ended.err
    chinese = command(*run, language="zh")
    assert "非公开数据不得上链" in chinese.err
    assert MOBILE not in chinese.out + chinese.err


@pytest.mark.parametrize("words", [["run", CONTRACT, *SIGNED, *arguments()], ["test", CONTRACT]])
def test_a_file_that_is_no_template_is_refused(
    command: Command, tmp_path: Path, words: list[str | Path]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("a: 1\n")
    ended = command(*words, "--template", wrong)
    assert ended.code == 7
    assert ended.err.startswith("TEMPLATE_MALFORMED: ")


@pytest.mark.req("G2-17-4", "G2-17-5", "G2-17-7")
@pytest.mark.parametrize("name", sorted(WALKS))
def test_every_common_template_walks_within_its_tiers_as_cases(
    command: Command, tmp_path: Path, name: str
) -> None:
    """A developer's cases, made of the first walk, with business time where a walk has days."""
    transitions = {each.method: each for each in template(name).transitions}
    cases = [
        {
            "name": f"{number} {step.method}",
            "method": step.method,
            "args": step.arguments,
            "sender_roles": [transitions[step.method].role],
            "checker": "did:rem:shandong:checker",
            "checker_roles": [transitions[step.method].checker or "nobody"],
            "time": f"2026-01-{5 + number:02}T10:00:00+08:00",
            "height": 1 + number,
            "expect": {"status": "ok"},
        }
        for number, step in enumerate(WALKS[name][0])
    ]
    path = tmp_path / "walk.cases.json"
    path.write_text(json.dumps({"cases": cases}), encoding="utf-8")
    words = ["test", FOLDER / f"{name}.star", "--cases", path, "-o", "json"]
    told = command(*words, "--template", FOLDER / f"{name}.yaml")
    assert (told.code, told.json["failed"], told.json["passed"]) == (0, 0, len(cases)), told.out
    free = command(*words)
    assert free.code == 0
    assert sum(each["gas_used"] for each in told.json["cases"]) > sum(
        each["gas_used"] for each in free.json["cases"]
    )


@pytest.mark.req("G2-17-7")
def test_a_case_meets_the_tiers_too(command: Command, tmp_path: Path) -> None:
    made = spoiled(tmp_path, '        "region": region,\n', "")
    case = {
        "name": "a person",
        "method": "register_person",
        "args": PERSON,
        "sender_roles": ["registrar"],
        "expect": {
            "status": "error",
            "code": "TIER_PUBLIC_NOT_ONCHAIN",
            "fields": {
                "why": "missing",
                "field": "region",
                "group": "subject",
                "key": "subject/S1",
            },
        },
    }
    made.with_suffix(".cases.json").write_text(json.dumps({"cases": [case]}))
    assert command("test", made, "--template", TEMPLATE).code == 0
    assert command("test", made).code == 5


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (MOBILE, "PHONE"),
        ("11010519491231002X", "ID_NUMBER"),
        ("6222021234567890128", "BANK_ACCOUNT"),
    ],
)
def test_a_call_with_a_number_of_a_person_is_not_sent(
    command: Command, tmp_path: Path, number: str, kind: str
) -> None:
    """There is no network to send it to: that it is not asked for shows in the error."""
    call = ["call", "subject", "--method", "register_person", "--data", tmp_path, "--args"]
    ended = command(*call, json.dumps({"notes": [f"卡{number}"]}, ensure_ascii=False))
    assert ended.code == 2
    assert ended.err.startswith(f"TIER_NONPUBLIC_ONCHAIN: --args: $.notes[0]: {kind}: ")
    assert "digest" in ended.err
    assert number not in ended.out + ended.err
    clean = command(*call, json.dumps({"notes": [f"卡{number[1:]}A1"]}, ensure_ascii=False))
    assert not clean.err.startswith("TIER_NONPUBLIC_ONCHAIN")
    assert clean.code != 0
