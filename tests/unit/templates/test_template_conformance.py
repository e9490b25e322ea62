"""A contract that does not keep to its template is told why, and nothing else is."""

from __future__ import annotations

import pytest

from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.template.conformance import (
    SENTENCES,
    Deviation,
    deviations,
)
from tests.unit.templates.common_walks import WALKS
from tests.unit.templates.template_market import template

ROLE = '    _maker("registrar")\n'
SUSPENDED = '    emit("subject.suspended", {"subject_id": subject_id, "state": "SUSPENDED"})\n'
SUSPEND = f"def suspend(subject_id):\n{ROLE}"


def spoiled(old: str, new: str, name: str = "subject") -> list[tuple[str, str]]:
    """Rule and subject of each deviation after the one place of a contract is changed."""
    source = template(name).contract.source
    assert source.count(old) == 1, old
    return told(source.replace(old, new), name)


def told(source: str, name: str = "subject") -> list[tuple[str, str]]:
    found = deviations(template(name), compile_source(source.encode()))
    assert {each.rule for each in found} <= SENTENCES.keys()
    return [(each.rule, each.what) for each in found]


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("name", sorted(WALKS))
def test_the_contracts_of_the_common_set_conform(name: str) -> None:
    assert deviations(template(name), template(name).contract.module) == []


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("name", sorted(WALKS))
def test_a_mandatory_event_that_is_not_made_is_missed_in_every_contract(name: str) -> None:
    source = template(name).contract.source
    for event in template(name).events:
        makers = [each for each in template(name).transitions if each.event == event.topic]
        without = source.replace(f'emit("{event.topic}", {{', f'_forget("{event.topic}", {{')
        found = told(f"{without}\ndef _forget(topic, body):\n    pass\n", name)
        expected = {("event_missing", f"{each.method}: {event.topic}") for each in makers}
        assert set(found) == expected


@pytest.mark.parametrize("name", sorted(WALKS))
def test_a_field_that_is_not_written_is_missed_in_every_contract(name: str) -> None:
    for group in template(name).groups:
        source = template(name).contract.source
        written = f'put("{group.state}"'
        assert written in source
        found = told(source.replace(written, f'_lose("{group.state}"') + LOSE, name)
        rules = {rule for rule, _ in found}
        assert rules == {"not_described" if group.descriptions else "not_whole"}


LOSE = "\ndef _lose(key, value):\n    pass\n"


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "def suspend(",
            "def halt(",
            [("method_missing", "suspend"), ("method_undeclared", "halt")],
        ),
        (
            "def suspend(subject_id)",
            "def suspend(subject_id, why)",
            [("parameters", "suspend: why")],
        ),
        (
            "def suspend(subject_id)",
            'def suspend(subject_id="S1")',
            [("parameters", "suspend: subject_id")],
        ),
        (SUSPEND, "def suspend(subject_id):\n", [("role_not_asked", "suspend: registrar")]),
        (
            SUSPEND,
            'def suspend(subject_id):\n    _maker("clerk")\n',
            [("role_not_asked", "suspend: registrar")],
        ),
        (
            'second = _checker("registration_checker")',
            "second = None",
            [("checker_not_asked", "deregister: registration_checker")],
        ),
        (
            '"suspend", "SUSPENDED", None)',
            '"suspend", "HALTED", None)',
            [],  # The event names the state, too.
        ),
        (
            SUSPENDED,
            '    emit("subject.halted", {"subject_id": subject_id, "state": "SUSPENDED"})\n',
            [
                ("event_missing", "suspend: subject.suspended"),
                ("event_undeclared", "subject.halted"),
            ],
        ),
        (
            SUSPENDED,
            '    emit("subject.suspended", {"subject_id": subject_id})\n    state = "SUSPENDED"\n',
            [("event_members", "subject.suspended: state")],
        ),
        (
            SUSPENDED,
            '    body = {"subject_id": subject_id, "state": "SUSPENDED"}\n'
            '    emit("subject.suspended", body)\n',
            [("event_unclear", "subject.suspended")],
        ),
        (
            SUSPENDED,
            '    emit(body={"subject_id": subject_id, "state": "SUSPENDED"},'
            ' topic="subject.suspended")\n',
            [],
        ),
        (
            SUSPENDED,
            '    emit("subject." + "suspended",'
            ' {"subject_id": subject_id, "state": "SUSPENDED"})\n',
            [("event_missing", "suspend: subject.suspended"), ("event_unclear", "?")],
        ),
        ('"identity/", "trace/"]', '"identity/", "trace/", "x/"]', [("access", "x/")]),
        (
            'put("identity/" + subject_id, {"digest": digest,',
            'put("identity/" + subject_id, {"digest": digest, "name": "N",',
            [("not_described", "_describe: identity")],
        ),
        (
            '        "region": region,\n        "state": state,',
            '        "state": state,',
            [
                (
                    "not_whole",
                    "subject: kind, region, registered_name, scale, state, subject_id, uscc",
                )
            ],
        ),
        (
            '    record["state"] = state\n    put("subject/" + subject_id, record)\n',
            '    record["state"] = state\n    put(subject_id, record)\n',
            [("key_unclear", "_move: ?")],
        ),
        (
            '    record["state"] = state\n    put("subject/" + subject_id, record)\n',
            '    put("subject/" + subject_id, {"state": state, "rating": 5})\n',
            [("wrong_tier", "subject/: rating")],
        ),
        (
            '    record["state"] = state\n',
            '    record["state"] = state\n    record["phone"] = "5"\n',
            [("nonpublic_named", "_move: phone")],
        ),
        (
            "def subject(subject_id):\n",
            'def subject(subject_id):\n    delete("subject/" + subject_id)\n',
            [("view_writes", "subject")],
        ),
        (
            'scan("trace/" + business_id + "/", count)',
            "[[0, count]]",
            [],  # It still reads where the steps are kept.
        ),
        (
            '    count = get("trace/" + business_id) or 0\n    return [',
            "    count = 1\n    return [step for step in []] or [",
            [],
        ),
    ],
)
def test_each_deviation_is_named(old: str, new: str, expected: list[tuple[str, str]]) -> None:
    assert sorted(spoiled(old, new)) == sorted(expected)


@pytest.mark.req("G2-08-5")
def test_a_step_that_is_not_kept_and_a_view_that_shows_none_are_named() -> None:
    source = template("subject").contract.source
    found = told(source.replace('put("trace/"', '_lose("trace/"') + LOSE)
    methods = [each.method for each in template("subject").transitions]
    assert sorted(found) == sorted(("step_not_traced", f"{each}: trace/") for each in methods)
    head, _, _ = source.partition("def trace(")
    rest = source[source.index("def _maker(") :]
    blind = f"{head}def trace(business_id):\n    return []\n\n{rest}"
    assert told(blind) == [("trace_reads", "trace: trace/")]
    missing = f"{head}\n{rest}"
    assert told(missing) == [("method_missing", "trace")]


@pytest.mark.req("G2-08-2")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", []),
        ("200", []),
        ("201", [("parameter_bounds", "HOLDERS_MAX: 201")]),
        ("0", [("parameter_bounds", "HOLDERS_MAX: 0")]),
        ('"200"', [("parameter_missing", "HOLDERS_MAX")]),
    ],
)
def test_a_contract_chooses_its_parameters_within_the_bounds(
    value: str, expected: list[tuple[str, str]]
) -> None:
    found = spoiled("HOLDERS_MAX = 200\n", f"HOLDERS_MAX = {value}\n", "registration")
    assert found == expected


def test_a_deviation_has_its_line() -> None:
    source = template("subject").contract.source.replace(SUSPENDED, "")
    line = 1 + source[: source.index("def suspend(")].count("\n")
    missing = Deviation(line, "event_missing", "suspend: subject.suspended")
    found = deviations(template("subject"), compile_source(source.encode()))
    assert found == [missing]
    told_ = {"rule": "event_missing", "what": "suspend: subject.suspended", "line": line}
    assert missing.to_json() == told_
