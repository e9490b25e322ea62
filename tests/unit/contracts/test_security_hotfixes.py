"""What closes a hole waits like any upgrade, unless the CSRC waives that and reviews it later."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.notice.standing import DOCUMENTS, Kind
from tests.unit.contracts.notice_market import (
    BREAKING,
    COMPATIBLE,
    MARKET_SIDE,
    OPERATOR,
    TECH,
    TESTED,
    NoticesHost,
    act,
    adopted,
    arrive,
    at,
    filed,
    filing,
    record,
    step,
    walk,
)

pytestmark = pytest.mark.req("G2-13-4", "G2-14-2")

SOON = "2025-09-16T09:00"
WINDOW: dict[str, Any] = {"planned": "2025-09-16", "old_until": "2025-09-30"}


def hotfix(**changes: Any) -> NoticesHost:
    return filed(kind=Kind.SECURITY_HOTFIX, **changes)


@pytest.mark.parametrize(
    ("new", "earliest", "days"), [(COMPATIBLE, "2025-09-23", 5), (BREAKING, "2025-10-18", 20)]
)
def test_it_waits_as_long_as_what_it_changes(new: Json, earliest: str, days: int) -> None:
    host = hotfix(interface=new)
    assert (record(host)["working_days"], record(host)["earliest"]) == (days, earliest)
    early = step(host, "replan", planned="2025-09-22")
    assert (early.code, early.fields["earliest"]) == ("UPGRADE_LEAD_TOO_SHORT", earliest)
    less = step(host, "ack", working_days=days - 1)
    assert less.code == "BODY_MALFORMED"


@pytest.mark.parametrize("missing", DOCUMENTS[Kind.SECURITY_HOTFIX])
def test_it_comes_with_its_documents(missing: str) -> None:
    documents = {name: "3c" * 32 for name in DOCUMENTS[Kind.SECURITY_HOTFIX] if name != missing}
    refused = act(adopted(), "file", **filing(Kind.SECURITY_HOTFIX, documents=documents))
    assert (refused.code, refused.fields["document"]) == ("UPGRADE_DOCUMENT_MISSING", missing)


def test_what_is_waived_is_switched_at_once_after_the_test_and_closed_after_a_review() -> None:
    host = walk(hotfix(), *TESTED)
    assert step(host, "schedule", **WINDOW).code == "UPGRADE_LEAD_TOO_SHORT"
    waived = step(host, "waive")
    assert waived.code is None
    assert (record(host)["waiver"], record(host)["earliest"]) == ("漏洞已被利用", "2025-09-15")
    assert step(host, "schedule", **WINDOW).code is None
    assert step(host, "cutover").code == "UPGRADE_CUTOVER_EARLY"
    at(host, SOON)
    walk(host, "cutover")
    host.block_height += 1
    assert step(host, "verify", objects=[arrive(host)]).code is None
    before = dict(host.store)
    unreviewed = step(host, "close")
    assert (unreviewed.code, unreviewed.fields["number"]) == ("UPGRADE_WAIVER_UNREVIEWED", 1)
    assert host.store == before
    walk(host, "review", "close")
    assert record(host)["review"] == "6f" * 32


def test_without_a_waiver_nothing_is_reviewed_and_it_is_closed_like_any_other() -> None:
    host = at(walk(hotfix(), *TESTED, "schedule"), "2025-10-20T09:00")
    walk(host, "cutover")
    refused = step(host, "review")
    facts = {"state": "NOT_WAIVED", "event": "review"}
    assert (refused.code, refused.fields) == ("ILLEGAL_TRANSITION", facts)
    host.block_height += 1
    assert step(host, "verify", objects=[arrive(host)]).code is None
    walk(host, "close")


def test_the_joint_test_is_not_waived() -> None:
    host = walk(hotfix(), "ack", "waive")
    assert step(host, "schedule", **WINDOW).code == "ILLEGAL_TRANSITION"
    walk(host, "open_test", "fail_test")
    assert step(host, "schedule", **WINDOW).code == "ILLEGAL_TRANSITION"


@pytest.mark.parametrize("kind", [Kind.INTERFACE, Kind.INCOMPATIBLE, Kind.MIGRATION])
def test_nothing_else_is_waived(kind: Kind) -> None:
    host = walk(filed(kind=kind), "ack")
    refused = step(host, "waive")
    facts = {"state": kind.value, "event": "waive"}
    assert (refused.code, refused.fields) == ("ILLEGAL_TRANSITION", facts)


def test_it_is_waived_once_with_a_reason_by_both_sides_of_the_csrc() -> None:
    host = hotfix()
    assert step(host, "waive").code == "ILLEGAL_TRANSITION"
    walk(host, "ack")
    for who in (OPERATOR, TECH, (MARKET_SIDE, None)):
        assert step(host, "waive", who=who).code is not None
    assert record(host)["waiver"] is None
    assert step(host, "waive", reason="").code == "BODY_MALFORMED"
    walk(host, "waive")
    again = step(host, "waive", reason="other")
    assert again.fields == {"state": "WAIVED", "event": "waive"}


def test_filed_anew_after_an_objection_it_waits_again() -> None:
    """Only an acknowledged notice is waived, so an objection comes before any waiver."""
    host = walk(hotfix(), "object")
    assert step(host, "waive").code == "ILLEGAL_TRANSITION"
    assert step(host, "refile", **filing(Kind.SECURITY_HOTFIX)).code is None
    assert record(host)["waiver"] is None


def test_a_roll_back_keeps_the_waiver_and_its_review() -> None:
    host = walk(hotfix(), *TESTED, "waive")
    assert step(host, "schedule", **WINDOW).code is None
    at(host, SOON)
    walk(host, "cutover", "review", "roll_back", "open_test", "pass_test")
    assert step(host, "schedule", **WINDOW).code is None
    walk(host, "cutover")
    assert record(host)["review"] == "6f" * 32
