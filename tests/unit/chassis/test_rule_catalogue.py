"""The catalogue is complete, its texts are filled safely, and the page made from it is current."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk import rules
from guqiao_sdk.rules.__main__ import page

ROOT = Path(__file__).parents[3]
FIELDS = {
    "code", "rule_id", "article", "severity", "service", "effective_from", "status", "basis",
    "text_zh", "text_en", "remedy_zh", "remedy_en", "grpc",
}  # fmt: skip
CODES = sorted(rules.catalogue())
ENTRIES = json.loads((ROOT / "guqiao_sdk/rules/catalogue.json").read_text(encoding="utf-8"))[
    "rules"
]


def grpc_names() -> set[str]:
    return set(code_pb2.Code.keys())


def requirement_ids() -> set[str]:
    text = (ROOT / "docs/requirements.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| ((?:G2|N0|T2|J3|S4)-[0-9a-z-]+) \|", text, re.MULTILINE))


def codes_of_section(document: str, heading: str) -> set[str]:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", section))


@pytest.mark.req("G2-01-1")
@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["code"] for entry in ENTRIES])
def test_every_entry_is_complete(entry: dict[str, object]) -> None:
    assert set(entry) == FIELDS
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", str(entry["code"]))
    for name in FIELDS:
        assert entry[name], f"{entry['code']}: {name} is empty"
    assert entry["severity"] in ("reject", "warn", "record")
    assert entry["grpc"] in grpc_names()
    assert entry["grpc"] not in ("OK", "UNKNOWN")
    date.fromisoformat(str(entry["effective_from"]))


@pytest.mark.req("G2-01-1")
@pytest.mark.parametrize("code", CODES)
def test_every_rule_names_requirements_that_exist_and_its_basis(code: str) -> None:
    rule = rules.rule(code)
    assert set(rule.rule_id) <= requirement_ids()
    assert all(isinstance(item, str) and item for item in rule.basis)
    assert len(rule.basis) >= 1


@pytest.mark.parametrize("code", CODES)
def test_every_text_is_a_sentence_in_its_language(code: str) -> None:
    rule = rules.rule(code)
    for text in (rule.text_zh, rule.remedy_zh):
        assert re.search(r"[\u4e00-\u9fff]", text)
        assert text.endswith("。")
    for text in (rule.text_en, rule.remedy_en):
        assert not re.search(r"[\u4e00-\u9fff]", text)
        assert text.endswith(".")
        assert not text.endswith("..")


@pytest.mark.parametrize("code", CODES)
def test_both_languages_name_the_same_facts(code: str) -> None:
    rule = rules.rule(code)
    facts = [set(re.findall(r"\{([\w|]+)\}", text)) for text in (rule.text_zh, rule.text_en)]
    assert facts[0] == facts[1]


def test_the_codes_of_the_market_rules_are_all_there() -> None:
    assert codes_of_section("market-dataset.md", "## 10. Codes") <= set(CODES)


def test_the_codes_of_the_requirements_are_all_there() -> None:
    listed = codes_of_section("requirements.md", "Error codes used above:")
    assert len(listed) >= 29
    assert listed <= set(CODES)


def test_the_entries_are_sorted_so_that_two_changes_seldom_meet() -> None:
    assert [entry["code"] for entry in ENTRIES] == CODES


def test_an_unknown_code_is_a_bug_that_names_itself() -> None:
    with pytest.raises(rules.UnknownCodeError, match="NO_SUCH_CODE"):
        rules.rule("NO_SUCH_CODE")


def test_messages_name_the_facts_in_both_languages() -> None:
    texts = rules.messages("REQUEST_TOO_LARGE", size=5, size_max=4)
    assert "5" in texts.zh
    assert "4" in texts.en


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"roles": "a"}, "a."),
        ({"allowed": ["a", "b"]}, "a, b."),
        ({"role": "a"}, "a."),
        ({"roles": "a", "allowed": ["b"], "role": "c"}, "a."),
        ({}, "(not given)."),
    ],
)
def test_a_text_takes_the_first_fact_that_is_given(facts: dict[str, object], said: str) -> None:
    """Contracts name the role that is missing under several names, which old blocks keep."""
    assert rules.messages("ROLE_MISSING", **facts).en.endswith(f"required: {said}")
    assert "<roles>" in rules.explain("ROLE_MISSING", "en")


def test_a_fact_that_is_missing_is_said_to_be_missing() -> None:
    assert "(not given)" in rules.messages("REQUEST_TOO_LARGE").en
    assert "（未给出）" in rules.messages("REQUEST_TOO_LARGE").zh


@given(st.text())
def test_a_fact_is_text_and_never_a_template(value: str) -> None:
    filled = rules.messages("METHOD_UNKNOWN", method=value).en
    assert filled == f"There is no such method: {value}."


def test_a_fact_cannot_reach_into_objects() -> None:
    assert rules.messages("METHOD_UNKNOWN", method="{method.__class__}").en.endswith(
        "{method.__class__}."
    )


@pytest.mark.req("G2-01-1")
@pytest.mark.parametrize("language", ["zh", "en"])
def test_explain_quotes_rule_article_and_basis(language: rules.Language) -> None:
    text = rules.explain("REPLICAS_TOO_FEW", language)
    for part in ("REPLICAS_TOO_FEW", "G2-07-2", "第七条", "征求意见稿"):
        assert part in text
    assert "{" not in rules.explain("REQUEST_TOO_LARGE", language)


def test_the_page_of_codes_is_current() -> None:
    written = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m guqiao_sdk.rules > docs/errors.md"


def test_importing_the_catalogue_reads_nothing_and_loads_no_grpc() -> None:
    program = (
        "import sys; from guqiao_sdk import rules; loaded = sys.modules; "
        "print(rules.catalogue.cache_info().currsize, 'grpc' in loaded, 'google' in loaded)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["0", "False", "False"]
