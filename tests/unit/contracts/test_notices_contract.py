"""Upgrade notices: what is filed, by whom, and how many working days ahead."""

from __future__ import annotations

from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.notice.standing import DOCUMENTS, Kind
from services.consensus.domain.contracts.notices import NoticesContract
from tests.unit.contracts.notice_market import (
    BREAKING,
    CHAIN,
    CHECKER,
    COMPATIBLE,
    CSRC,
    GOOD,
    MAKER,
    MARKET_SIDE,
    OLD,
    OPERATOR,
    OTHERS,
    OWNER,
    TECH_SIDE,
    WHO,
    NoticesHost,
    Signers,
    act,
    adopted,
    at,
    digest,
    filed,
    filing,
    interface,
    moment,
    must,
    party,
    record,
    regulator,
    step,
    walk,
)

VECTORS: Final = [
    ("2025-01-13", "2025-02-14", "2025-02-15", (2025,)),
    ("2025-09-15", "2025-10-17", "2025-10-18", (2025,)),
    ("2026-01-26", "2026-02-28", "2026-03-01", (2026,)),
    ("2026-09-15", "2026-10-19", "2026-10-20", (2026,)),
    ("2026-11-22", "2026-12-18", "2026-12-19", (2026,)),
    ("2026-12-03", "2026-12-31", "2027-01-01", (2026,)),
]
"""Of requirements section 7: notice, twentieth working day, earliest cut-over, years on chain."""


# --- Working days ---------------------------------------------------------------------------------


@pytest.mark.req("G2-14-3", "G2-14-4")
@pytest.mark.parametrize("kind", [Kind.INCOMPATIBLE, Kind.MIGRATION])
@pytest.mark.parametrize(("notice", "twentieth", "earliest", "years"), VECTORS)
def test_twenty_working_days_pass_whole_between_notice_and_cutover(
    kind: Kind, notice: str, twentieth: str, earliest: str, years: tuple[int, ...]
) -> None:
    for hour in ("00:00", "23:59"):
        host = adopted(f"{notice}T{hour}", *years)
        short = act(host, "file", **filing(kind, planned=twentieth))
        assert (short.code, short.fields) == (
            "UPGRADE_LEAD_TOO_SHORT",
            {"earliest": earliest, "planned": twentieth, "working_days": 20},
        )
        [(topic, facts)] = must(host, "file", **filing(kind, planned=earliest)).events
        assert isinstance(facts, dict)
        assert (topic, facts["earliest"], facts["status"]) == ("notice.filed", earliest, "NOTIFIED")


@pytest.mark.req("G2-14-3")
def test_a_year_without_a_calendar_is_never_guessed() -> None:
    host = adopted("2026-12-04T10:00", 2026)
    before = dict(host.store)
    unknown = act(host, "file", **filing(planned="2027-06-30"))
    assert (unknown.code, unknown.fields) == ("CALENDAR_YEAR_UNKNOWN", {"year": 2027})
    assert host.store == before


@pytest.mark.req("G2-14-3")
def test_the_day_of_the_notice_is_the_day_in_china_of_its_block() -> None:
    host = adopted()
    host.block_ms = moment("2025-09-16T00:00") - 1
    assert must(host, "file", **filing()).code is None
    host = adopted()
    host.block_ms = moment("2025-09-16T00:00")
    late = act(host, "file", **filing())
    assert (late.code, late.fields["earliest"]) == ("UPGRADE_LEAD_TOO_SHORT", "2025-10-21")


@pytest.mark.req("G2-14-1")
def test_a_compatible_interface_needs_five_and_the_csrc_may_ask_for_more() -> None:
    host = adopted("2025-09-26T10:00")
    short = act(host, "file", **filing(Kind.INTERFACE, planned="2025-10-10"))
    assert (short.code, short.fields["earliest"]) == ("UPGRADE_LEAD_TOO_SHORT", "2025-10-11")
    must(host, "file", **filing(Kind.INTERFACE, planned="2025-10-11"))
    for wrong in (4, 251, True, "9"):
        assert step(host, "ack", working_days=wrong).code == "BODY_MALFORMED"
    [(_, facts)] = must(host, "ack", number=1, working_days=9).events
    assert isinstance(facts, dict)
    assert facts["earliest"] == "2025-10-16"
    walk(host, "open_test", "pass_test")
    short = step(host, "schedule", planned="2025-10-15")
    assert (short.code, short.fields["earliest"]) == ("UPGRADE_LEAD_TOO_SHORT", "2025-10-16")
    assert step(host, "schedule", planned="2025-10-16").code is None


@pytest.mark.req("G2-14-3")
def test_postponing_is_free_and_bringing_the_date_forward_runs_the_guard_again() -> None:
    host = walk(filed(planned="2025-10-20"), "ack")
    assert step(host, "replan", planned="2026-01-05").code is None
    assert step(host, "replan", planned="2025-10-18").code is None
    assert step(host, "replan", planned="2025-10-17").code == "UPGRADE_LEAD_TOO_SHORT"
    assert record(host)["planned"] == "2025-10-18"
    assert record(host)["status"] == "ACKNOWLEDGED"


def test_an_objection_is_answered_and_the_days_run_on_unless_what_is_said_changes() -> None:
    def again(**changes: Any) -> NoticesHost:
        host = walk(filed(planned="2025-10-20"), "object")
        assert record(host)["reason"] == GOOD["object"]["reason"]
        at(host, "2025-09-16T10:00")
        body = {"number": 1, **filing(planned="2025-10-22"), **changes}
        must(host, "refile", **body)
        assert record(host)["status"] == "NOTIFIED"
        return host

    assert record(again())["noticed_ms"] == moment("2025-09-15T10:00")
    documents = {name: "5e" * 32 for name in DOCUMENTS[Kind.INCOMPATIBLE]}
    for change in (
        {"documents": documents},
        {"kind": "MIGRATION", "documents": {n: "3c" * 32 for n in DOCUMENTS[Kind.MIGRATION]}},
        {
            "interface": interface(
                subject_layer=None, subject_note={"type": "text", "required": False}
            )
        },
    ):
        assert record(again(**change))["noticed_ms"] == moment("2025-09-16T10:00")
    host = walk(filed(planned="2025-10-30"), "object")
    at(host, "2025-09-16T10:00")
    forward = act(host, "refile", number=1, **filing(planned="2025-10-18"))
    assert (forward.code, forward.fields["earliest"]) == ("UPGRADE_LEAD_TOO_SHORT", "2025-10-21")


# --- What is filed --------------------------------------------------------------------------------


@pytest.mark.req("G2-14-2", "G2-14-5")
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in Kind for name in DOCUMENTS[kind]]
)
def test_each_document_of_a_kind_is_mandatory_with_its_digest(kind: Kind, name: str) -> None:
    host = adopted()
    good = filing(kind)["documents"]
    lacking = {other: good[other] for other in good if other != name}
    missing = act(host, "file", **filing(kind, documents=lacking))
    facts = {"document": name, "kind": kind.value}
    assert (missing.code, missing.fields) == ("UPGRADE_DOCUMENT_MISSING", facts)
    for wrong in ("", "3c" * 31, "3C" * 32, "3c" * 33, None, 7):
        outcome = act(host, "file", **filing(kind, documents=good | {name: wrong}))
        assert (outcome.code, outcome.fields["field"]) == ("BODY_MALFORMED", f"documents.{name}")
    more = act(host, "file", **filing(kind, documents=good | {"poem": "3c" * 32}))
    assert (more.code, more.fields["field"]) == ("BODY_MALFORMED", "documents.poem")
    must(host, "file", **filing(kind))
    assert record(host)["documents"] == good


def test_the_documents_of_each_kind_are_those_of_the_life_cycle() -> None:
    assert set(DOCUMENTS[Kind.INTERFACE]) >= {"change_note", "change_list", "rollback_plan"}
    assert set(DOCUMENTS[Kind.INCOMPATIBLE]) >= {"explanation", "change_list", "rollback_plan"}
    migration = {"upgrade_plan", "data_migration_plan", "change_list", "rollback_plan"}
    assert set(DOCUMENTS[Kind.MIGRATION]) >= migration


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    ("new", "place", "rule"),
    [
        (interface(subject_layer=None), "object.subject.subject_layer", "removed"),
        (
            interface(subject_company_name={"type": "integer", "required": True}),
            "object.subject.subject_company_name.type",
            "changed",
        ),
        (
            interface(subject_tax={"type": "text", "required": True}),
            "object.subject.subject_tax",
            "required_added",
        ),
    ],
)
def test_a_change_that_breaks_is_not_filed_as_compatible(
    new: dict[str, Any], place: str, rule: str
) -> None:
    host = adopted()
    wrong = act(host, "file", **filing(Kind.INTERFACE, interface=new))
    facts = {"place": place, "rule": rule, "count": 1}
    assert (wrong.code, wrong.fields) == ("UPGRADE_MISCLASSIFIED", facts)
    must(host, "file", **filing(Kind.INCOMPATIBLE, interface=new))
    assert record(host)["compatible"] is False
    change = {"place": place, "rule": rule, "breaking": True}
    assert record(host)["changes"] == [change]


@pytest.mark.req("G2-14-4")
def test_the_old_interface_is_the_one_in_force_and_not_what_the_filer_says() -> None:
    """Whoever names the new one as the old would have nothing that breaks."""
    host = adopted()
    other = act(host, "file", **filing(Kind.INTERFACE, old=digest(BREAKING), interface=BREAKING))
    facts = {"chain": CHAIN, "in_force": digest(OLD)}
    assert (other.code, other.fields) == ("UPGRADE_BASE_OTHER", facts)
    must(host, "file", **filing(Kind.INTERFACE))
    assert (record(host)["old"], record(host)["new"]) == (digest(OLD), digest(COMPATIBLE))
    assert host.get(f"interface/{CHAIN}/{digest(COMPATIBLE)}") == COMPATIBLE


@pytest.mark.req("G2-14-6")
def test_objects_that_change_have_a_version_of_their_own() -> None:
    host = adopted()
    same = act(host, "file", **filing(interface={**BREAKING, "model_version": "guqiao-1"}))
    assert (same.code, same.fields) == ("UPGRADE_MODEL_VERSION_SAME", {"version": "guqiao-1"})
    rpc = {**OLD, "parts": {"object.subject": OLD["parts"]["object.subject"]}}
    must(host, "file", **filing(interface=rpc))
    assert (record(host)["changes_format"], record(host)["compatible"]) == (False, False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "HOTFIX"}, "kind"),
        ({"kind": None}, "kind"),
        ({"old": "1a"}, "old"),
        ({"old": 7}, "old"),
        ({"interface": []}, "interface"),
        ({"documents": []}, "documents"),
        ({"planned": "20251018"}, "planned"),
        ({"planned": "2025-10-18T00:00:00"}, "planned"),
        ({"planned": "2025-02-30"}, "planned"),
        ({"planned": "2200-01-01"}, "planned"),
        ({"planned": 20251018}, "planned"),
        ({"more": 1}, "more"),
        ({"chain": 7}, "chain"),
    ],
)
def test_a_filing_of_another_form_is_refused_naming_the_field(
    changes: dict[str, Any], field: str
) -> None:
    host = adopted()
    outcome = act(host, "file", **(filing() | changes))
    assert (outcome.code, outcome.fields["field"]) == ("BODY_MALFORMED", field)


def test_a_chain_has_one_open_notice_and_numbers_count_on() -> None:
    host = filed()
    second = act(host, "file", **filing())
    assert (second.code, second.fields) == ("UPGRADE_NOTICE_OPEN", {"chain": CHAIN, "number": 1})
    walk(host, "cancel")
    must(host, "file", **filing())
    assert record(host, 2)["status"] == "NOTIFIED"
    unknown = step(host, "ack", 3)
    assert (unknown.code, unknown.fields["number"]) == ("UPGRADE_NOTICE_UNKNOWN", 3)


# --- Who ------------------------------------------------------------------------------------------


def other_signers(wanted: Signers) -> list[tuple[Signers, str]]:
    stranger = party("t", "did:rem:other:o", "csrc_tech", "operator_checker")
    if wanted == CSRC:
        return [
            (OPERATOR, "ROLE_MISSING"),
            ((TECH_SIDE, MARKET_SIDE), "ROLE_MISSING"),
            ((MARKET_SIDE, None), "CHECKER_MISSING"),
            ((MARKET_SIDE, MARKET_SIDE), "CHECKER_IS_MAKER"),
            ((MARKET_SIDE, stranger), "ROLE_MISSING"),
        ]
    if wanted == OPERATOR:
        return [
            (CSRC, "ROLE_MISSING"),
            ((MAKER, None), "CHECKER_MISSING"),
            ((MAKER, MAKER), "CHECKER_IS_MAKER"),
            ((MAKER, stranger), "ROLE_MISSING"),
            ((CHECKER, MAKER), "ROLE_MISSING"),
        ]
    return [(CSRC, "ROLE_MISSING"), (OPERATOR, "ROLE_MISSING")]


@pytest.mark.req("G2-14-1", "G2-14-4")
@pytest.mark.parametrize("method", [*NoticesContract().methods()])
def test_nobody_else_takes_a_step(method: str) -> None:
    host = filed()
    before = dict(host.store)
    for who, code in other_signers(WHO[method]):
        assert act(host, method, who=who, number=1, **GOOD.get(method, {})).code == code
    assert host.store == before


def test_nobody_gives_notice_for_the_chain_of_another() -> None:
    host = filed()
    for method in ("replan", "cancel"):
        outcome = act(host, method, who=OTHERS, number=1, **GOOD[method])
        facts = {"chain": CHAIN, "operator": OWNER}
        assert (outcome.code, outcome.fields) == ("UPGRADE_CHAIN_NOT_OWN", facts)
    walk(host, "cancel")
    assert act(host, "file", who=OTHERS, **filing()).code == "UPGRADE_CHAIN_NOT_OWN"


def test_the_csrc_adopts_the_interface_of_a_chain_that_is_followed_until_notices_begin() -> None:
    host = regulator()
    assert act(host, "file", **filing()).code == "UPGRADE_INTERFACE_UNKNOWN"
    body: dict[str, Any] = {"operator": OWNER, "interface": OLD}
    stranger = act(host, "adopt", **(body | {"chain": "beijing"}))
    assert (stranger.code, stranger.fields) == ("CLIENT_UNKNOWN", {"chain": "beijing"})
    must(host, "adopt", **body | {"interface": interface("guqiao-0")})
    facts: dict[str, Json] = {"interface": digest(OLD), "model_version": "guqiao-1"}
    told = {"chain": CHAIN, "operator": OWNER, **facts}
    assert must(host, "adopt", **body).events == [("notice.interface_adopted", told)]
    assert host.get(f"head/{CHAIN}") == {"operator": OWNER, "latest": 0, **facts}
    assert [key for key in host.store if key.startswith("format/")] == [f"format/{CHAIN}/guqiao-1"]
    must(host, "file", **filing())
    late = act(host, "adopt", **body)
    assert (late.code, late.fields) == (
        "ILLEGAL_TRANSITION",
        {"state": "ADOPTED", "event": "adopt"},
    )
