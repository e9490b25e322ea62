"""The life cycle of a notice, which is SM-3 and nothing else, and the switch that it leads to."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.notice.standing import TRANSITIONS, Kind
from tests.unit.contracts.notice_market import (
    BREAKING,
    CHAIN,
    FIGURES,
    OLD,
    OWNER,
    TESTED,
    NoticesHost,
    act,
    arrive,
    at,
    digest,
    filed,
    filing,
    interface,
    moment,
    must,
    record,
    step,
    walk,
)

# --- The life cycle -------------------------------------------------------------------------------


LISTED: Final = {
    ("NOTIFIED", "ack"): "ACKNOWLEDGED",
    ("NOTIFIED", "object"): "OBJECTED",
    ("OBJECTED", "refile"): "NOTIFIED",
    ("ACKNOWLEDGED", "open_test"): "JOINT_TESTING",
    ("JOINT_TESTING", "pass_test"): "TEST_PASSED",
    ("JOINT_TESTING", "fail_test"): "TEST_FAILED",
    ("TEST_FAILED", "open_test"): "JOINT_TESTING",
    ("TEST_PASSED", "schedule"): "SCHEDULED",
    ("SCHEDULED", "schedule"): "SCHEDULED",
    ("SCHEDULED", "compare"): "SCHEDULED",
    ("SCHEDULED", "cutover"): "CUTOVER",
    ("CUTOVER", "verify"): "VERIFIED",
    ("CUTOVER", "roll_back"): "ROLLED_BACK",
    ("ROLLED_BACK", "open_test"): "JOINT_TESTING",
    ("VERIFIED", "close"): "CLOSED",
} | {
    (state, event): "CANCELLED" if event == "cancel" else state
    for state in ("NOTIFIED", "ACKNOWLEDGED", "JOINT_TESTING", "TEST_FAILED", "TEST_PASSED")
    for event in ("replan", "cancel")
} | {("OBJECTED", "cancel"): "CANCELLED", ("SCHEDULED", "cancel"): "CANCELLED"}  # fmt: skip
"""SM-3 as requirements.md has it, written down apart from the contract's own table."""
OF_HOTFIXES: Final = {
    (state, "waive"): state
    for state in ("ACKNOWLEDGED", "JOINT_TESTING", "TEST_FAILED", "TEST_PASSED", "SCHEDULED")
} | {("CUTOVER", "review"): "CUTOVER", ("VERIFIED", "review"): "VERIFIED"}
OF_WINDOWS: Final = {("SCHEDULED", "open_window"): "SCHEDULED"}
"""From version 2 on; walked in `xchain/test_migration_windows.py`."""
STEPS: Final = sorted({event for _, event in LISTED})
LATE: Final = "2025-10-20T09:00"


def given_to(host: NoticesHost, event: str) -> dict[str, Any]:
    """What a step is given in a walk, beside what it is given elsewhere."""
    match event:
        case "refile":
            return filing(Kind.MIGRATION)
        case "replan":
            return {"planned": "2025-10-18"}
        case "verify":
            return {"objects": [arrive(host)]}
    return {}


@pytest.mark.req("G2-14-2", "G2-14-4")
@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_every_step_that_the_life_cycle_does_not_list_is_refused(steps: list[str]) -> None:
    """Any walk, on a migration, for which every guard holds that is no matter of the life cycle."""
    host = at(filed(kind=Kind.MIGRATION), LATE)
    state = "NOTIFIED"
    for event in steps:
        host.block_height += 2
        more = given_to(host, event)
        if event == "cutover" and state == "SCHEDULED":
            assert step(host, "compare").code is None
        before = dict(host.store)
        outcome = step(host, event, **more)
        to = LISTED.get((state, event))
        if to is None:
            facts = {"state": state, "event": event}
            assert (outcome.code, outcome.fields) == ("ILLEGAL_TRANSITION", facts)
            assert host.store == before
        else:
            assert outcome.code is None, (state, event, outcome)
            state = to
        assert record(host)["status"] == state


def test_the_walks_reach_every_step_that_is_listed() -> None:
    listed = {
        (state, event, to)
        for event, row in TRANSITIONS.items()
        for state, to in row.items()
        if event != "file"
    }
    known = LISTED | OF_HOTFIXES | OF_WINDOWS
    assert listed == {(state, event, to) for (state, event), to in known.items()}


@pytest.mark.req("G2-14-1")
def test_without_a_passed_joint_test_nothing_is_scheduled_or_cut_over() -> None:
    host = walk(filed(), "ack", "open_test", "fail_test")
    at(host, LATE)
    for method in ("schedule", "cutover"):
        assert step(host, method).code == "ILLEGAL_TRANSITION"
    walk(host, "open_test")
    for wrong in ("", "4d" * 31, 7):
        assert step(host, "pass_test", report=wrong).code == "BODY_MALFORMED"
    walk(host, "pass_test", "schedule", "cutover")
    assert record(host)["test_report"] == "4d" * 32


# --- The switch -----------------------------------------------------------------------------------


@pytest.mark.req("G2-14-3", "G2-14-6")
def test_no_cut_over_before_the_permitted_day_by_block_time() -> None:
    host = walk(filed(), *TESTED)
    assert step(host, "schedule", planned="2025-10-20").code is None
    before = dict(host.store)
    host.block_ms = moment("2025-10-20T00:00") - 1
    early = step(host, "cutover")
    assert (early.code, early.fields) == ("UPGRADE_CUTOVER_EARLY", {"permitted": "2025-10-20"})
    assert host.store == before
    host.block_ms = moment("2025-10-20T00:00")
    assert step(host, "cutover").code is None
    head = {"interface": digest(BREAKING), "model_version": "guqiao-2"}
    assert host.get(f"head/{CHAIN}") == {"operator": OWNER, "latest": 1, **head}


@pytest.mark.req("G2-14-3")
def test_a_day_that_is_taken_off_after_the_notice_has_to_pass_as_well() -> None:
    host = walk(filed(), *TESTED, "schedule")
    year: Any = host.elsewhere["calendar", "year/2025"]
    off = sorted([*year["off"], "2025-10-16"])
    host.elsewhere["calendar", "year/2025"] = {**year, "off": off}
    at(host, "2025-10-18T09:00")
    assert step(host, "cutover").fields == {"permitted": "2025-10-21"}


def test_a_window_that_is_over_is_scheduled_anew() -> None:
    host = walk(filed(), *TESTED, "schedule")
    at(host, "2025-11-01T00:00")
    over = step(host, "cutover")
    assert (over.code, over.fields) == ("UPGRADE_WINDOW_OVER", {"until": "2025-10-31"})
    assert step(host, "schedule", planned="2025-11-01", old_until="2025-11-01").code is None
    assert step(host, "cutover").code is None


@pytest.mark.parametrize("until", [None, "2025-10-17", "soon", 7])
def test_the_old_format_ends_on_a_day_not_before_the_cut_over(until: Json) -> None:
    host = walk(filed(), *TESTED)
    wrong = step(host, "schedule", old_until=until)
    assert (wrong.code, wrong.fields["field"]) == ("BODY_MALFORMED", "old_until")
    assert step(host, "schedule", old_until="2025-10-18").code is None


def test_an_end_is_named_only_of_a_format_that_changes() -> None:
    same = {**OLD, "parts": {"object.subject": OLD["parts"]["object.subject"]}}
    host = walk(filed(interface=same), *TESTED)
    assert step(host, "schedule").code == "BODY_MALFORMED"
    assert step(host, "schedule", old_until=None).code is None


@pytest.mark.req("G2-14-2")
@pytest.mark.parametrize(
    ("figure", "value"), [("objects", 4), ("latest", "5e" * 32), ("state", "5e" * 32)]
)
def test_a_migration_switches_only_with_all_its_data(figure: str, value: Json) -> None:
    host = at(walk(filed(kind=Kind.MIGRATION), *TESTED, "schedule"), LATE)
    none = step(host, "cutover")
    assert (none.code, none.fields) == ("UPGRADE_DATA_UNCOMPARED", {"chain": CHAIN})
    odd = step(host, "compare", after=FIGURES | {figure: value})
    facts = {"figure": figure, "before": FIGURES[figure], "after": value}
    assert (odd.code, odd.fields) == ("UPGRADE_DATA_DIFFERS", facts)
    assert step(host, "cutover").code == "UPGRADE_DATA_UNCOMPARED"
    walk(host, "compare", "cutover")


@pytest.mark.req("G2-14-2")
def test_what_arrives_after_the_comparison_has_it_made_anew() -> None:
    host = at(walk(filed(kind=Kind.MIGRATION), *TESTED, "schedule", "compare"), LATE)
    host.elsewhere["packets", f"received/{CHAIN}/data_object"] = 1
    odd = step(host, "cutover")
    facts = {"figure": "received", "before": 0, "after": 1}
    assert (odd.code, odd.fields) == ("UPGRADE_DATA_DIFFERS", facts)
    walk(host, "compare", "cutover")


def test_another_schedule_has_the_data_compared_anew() -> None:
    host = at(walk(filed(kind=Kind.MIGRATION), *TESTED, "schedule", "compare"), LATE)
    walk(host, "schedule")
    assert step(host, "cutover").code == "UPGRADE_DATA_UNCOMPARED"
    walk(host, "compare", "cutover")


@pytest.mark.parametrize(
    "figures",
    [None, [], {}, FIGURES | {"objects": -1}, FIGURES | {"objects": True}, FIGURES | {"state": ""}],
)
def test_figures_of_another_form_are_refused(figures: Json) -> None:
    host = walk(filed(kind=Kind.MIGRATION), *TESTED, "schedule")
    assert step(host, "compare", before=figures).code == "BODY_MALFORMED"


def test_only_a_migration_has_its_data_compared() -> None:
    host = walk(filed(), *TESTED, "schedule")
    assert step(host, "compare").code == "ILLEGAL_TRANSITION"


def test_a_roll_back_puts_interface_and_format_back_and_leads_to_another_test() -> None:
    def kept(host: NoticesHost) -> dict[str, bytes]:
        new = f"format/{CHAIN}/guqiao-2"
        return {k: v for k, v in host.store.items() if k != new and not k.startswith("notice/")}

    host = at(walk(filed(), *TESTED, "schedule"), LATE)
    before = kept(host)
    walk(host, "cutover")
    assert kept(host) != before
    walk(host, "roll_back")
    assert kept(host) == before
    walk(host, "open_test", "pass_test", "schedule", "cutover")
    head = host.get(f"head/{CHAIN}")
    assert isinstance(head, dict)
    assert head["model_version"] == "guqiao-2"


@pytest.mark.req("G2-14-6")
def test_a_format_that_was_taken_back_comes_again_as_it_was_or_under_another_version() -> None:
    host = at(walk(filed(), *TESTED, "schedule"), LATE)
    walk(host, "cutover", "roll_back", "open_test", "cancel")
    other = interface(subject_company_name=None)
    taken = act(host, "file", **filing(interface=other, planned="2026-03-02"))
    assert (taken.code, taken.fields) == ("UPGRADE_MODEL_VERSION_TAKEN", {"version": "guqiao-2"})
    must(host, "file", **filing(planned="2026-03-02"))
    walk(host, "cancel", number=2)
    renamed = {**other, "model_version": "guqiao-3"}
    must(host, "file", **filing(interface=renamed, planned="2026-03-02"))


@pytest.mark.req("G2-14-6")
def test_only_new_objects_of_the_chain_verify_a_cut_over() -> None:
    host = at(walk(filed(), *TESTED, "schedule"), LATE)
    early = arrive(host)
    walk(host, "cutover")
    assert step(host, "verify", objects=[]).code == "BODY_MALFORMED"
    assert step(host, "verify", objects=[early]).code == "UPGRADE_OBJECT_NOT_NEW"
    host.block_height += 1
    for named in (
        {"object_id": "shandong:subject:2", "version": 0},
        arrive(host, "guqiao-1"),
        arrive(host, source="beijing"),
    ):
        odd = step(host, "verify", objects=[named])
        assert (odd.code, odd.fields["version"]) == ("UPGRADE_OBJECT_NOT_NEW", "guqiao-2")
    assert step(host, "verify", objects=[arrive(host)]).code is None
    walk(host, "close")


def test_the_next_notice_starts_from_what_was_cut_over_and_a_version_is_used_once() -> None:
    host = at(walk(filed(), *TESTED, "schedule"), LATE)
    walk(host, "cutover")
    host.block_height += 1
    assert step(host, "verify", objects=[arrive(host)]).code is None
    walk(host, "close")
    assert act(host, "file", **filing(planned="2026-03-02")).code == "UPGRADE_BASE_OTHER"
    again: dict[str, Any] = {"old": digest(BREAKING), "interface": OLD, "planned": "2026-03-02"}
    taken = act(host, "file", **filing(**again))
    assert (taken.code, taken.fields) == ("UPGRADE_MODEL_VERSION_TAKEN", {"version": "guqiao-1"})
    third = {**OLD, "model_version": "guqiao-3"}
    must(host, "file", **filing(**again | {"interface": third}))
    assert record(host, 2)["compatible"] is False
