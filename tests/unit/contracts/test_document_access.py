"""Every attempt to read leaves one record, allowed or not; erasing leaves what was proven."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.consensus.domain.contracts.document_access import FIRST_BEFORE, record_digest
from services.consensus.domain.contracts.host import Party
from tests.unit.contracts.document_market import (
    ANNE,
    BO,
    CHAIN,
    CHECKER,
    DESCRIPTION,
    EVE,
    MAKER,
    OTHER_CHECKER,
    OTHER_MAKER,
    DocumentMarket,
    party,
    sealed_for,
)

OPERATOR = (MAKER, CHECKER)
ERASE: dict[str, Any] = {"document": "report", "version": 1, "reason": "本人要求删除"}


def with_body(*readers: Party) -> DocumentMarket:
    """A market with one NONPUBLIC version and these readers."""
    market = DocumentMarket()
    for reader in readers:
        market.grant("files", reader)
    assert market.publish(area="files", **DESCRIPTION).code is None
    return market


def chained(market: DocumentMarket) -> list[dict[str, Any]]:
    """All audit records, each of which must be bound to the one before."""
    head = market.record("audit_head") or {"count": 0, "digest": FIRST_BEFORE}
    records = [market.record(f"audit/{number:020d}") for number in range(1, head["count"] + 1)]
    before, traced = FIRST_BEFORE, Counter[str]()
    for record in records:
        assert record["before"] == before
        before = record_digest(record)
        traced[record["document"]] += 1
        count = traced[record["document"]]
        assert market.record(f"trace/{record['document']}/{count:020d}") == record["number"]
    assert head["digest"] == before
    assert all(market.record(f"traced/{name}") == count for name, count in traced.items())
    return records


@pytest.mark.req("G2-17-9", "G2-19-2")
def test_a_granted_reading_is_recorded_with_who_why_and_by_which_grant() -> None:
    market = with_body(ANNE, BO)
    told = market.read(BO)
    [record] = chained(market)
    assert told == {**record, "digest": record_digest(record)}
    assert (record["actor"], record["organisation"]) == (BO.did, BO.organisation)
    assert record["roles"] == ["observer"]
    assert (record["document"], record["version"], record["tier"]) == ("report", 1, "NONPUBLIC")
    assert (record["purpose"], record["grant"]) == ("review", 2)
    assert (record["result"], record["code"]) == ("allow", "")
    assert (record["chain"], record["time_ms"]) == (CHAIN, market.host.block_ms)
    assert record["object_digest"] == DESCRIPTION["digest"]
    assert record["transaction_id"] == market.host.transaction


@pytest.mark.req("G2-17-9", "G2-19-2")
def test_a_denied_reading_is_recorded_too_and_takes_effect_as_a_transaction() -> None:
    market = with_body(ANNE)
    denied = (
        (market.read(EVE), "READ_CONDITION_UNMET"),
        (market.read(ANNE, purpose="curiosity"), "DOCUMENT_PURPOSE_OTHER"),
        (market.read(ANNE, document="unknown"), "DOCUMENT_UNKNOWN"),
        (market.read(ANNE, version=2), "DOCUMENT_UNKNOWN"),
        (market.read(MAKER), "READ_CONDITION_UNMET"),
    )
    for record, code in denied:
        assert (record["result"], record["code"]) == ("deny", code)
    assert len(chained(market)) == len(denied)


@pytest.mark.req("G2-17-6", "G2-17-9")
def test_a_revoked_reader_reads_no_body_any_more() -> None:
    market = with_body(ANNE)
    assert market.read(ANNE)["result"] == "allow"
    market.revoke("files", ANNE)
    assert market.read(ANNE)["code"] == "READ_CONDITION_UNMET"


@pytest.mark.req("G2-17-6")
def test_a_condition_is_judged_when_something_is_read() -> None:
    market = with_body()
    market.grant("files", ANNE, {"kind": "role", "role": "supervisor"})
    assert market.read(ANNE)["code"] == "READ_CONDITION_UNMET"
    market.identify(party("anne", ANNE.organisation, "supervisor"))
    assert market.read(ANNE)["result"] == "allow"


@pytest.mark.req("G2-17-6", "G2-19-2")
def test_a_reader_of_a_sealed_version_is_entitled_to_that_version_for_good() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    sealed = sealed_for(ANNE).to_json()
    assert market.publish(area="offers", sealed=sealed).code is None
    market.revoke("offers", ANNE)
    market.grant("offers", BO)
    record = market.read(ANNE)
    assert (record["result"], record["grant"], record["tier"]) == ("allow", 1, "RESTRICTED")
    assert market.read(ANNE, purpose="other")["code"] == "DOCUMENT_PURPOSE_OTHER"
    assert market.read(BO)["code"] == "READ_CONDITION_UNMET"


def test_what_is_public_is_read_by_anybody() -> None:
    market = DocumentMarket()
    market.publish(area="notices", content="公告")
    record = market.read(EVE)
    assert (record["result"], record["grant"]) == ("allow", None)


@pytest.mark.parametrize(
    "changes",
    [{"document": "A"}, {"version": 0}, {"purpose": ""}, {"purpose": "x" * 33}, {"more": 1}],
)
def test_only_what_is_malformed_is_refused_and_leaves_its_receipt(changes: dict[str, Any]) -> None:
    market = with_body(ANNE)
    body = {"document": "report", "version": 1, "purpose": "review", **changes}
    assert market.act((ANNE, None), "read", **body).code == "BODY_MALFORMED"
    assert chained(market) == []


@pytest.mark.req("G2-19-2")
@settings(max_examples=30)
@given(
    attempts=st.lists(
        st.tuples(
            st.sampled_from([ANNE, BO, EVE]),
            st.sampled_from(["report", "nothing"]),
            st.sampled_from(["review", "other"]),
        ),
        max_size=20,
    )
)
def test_there_are_as_many_records_as_attempts(attempts: list[tuple[Party, str, str]]) -> None:
    market = with_body(ANNE)
    for who, document, purpose in attempts:
        market.read(who, document=document, purpose=purpose)
    records = chained(market)
    told = [(each["actor"], each["document"], each["purpose"]) for each in records]
    assert told == [(who.did, document, purpose) for who, document, purpose in attempts]
    allowed = [each["result"] == "allow" for each in records]
    assert allowed == [
        (who, document, purpose) == (ANNE, "report", "review")
        for who, document, purpose in attempts
    ]


# --- Erasure --------------------------------------------------------------------------------------


@pytest.mark.req("G2-17-7", "G2-17-8")
def test_an_erasure_leaves_description_and_digest() -> None:
    market = with_body(ANNE)
    before = market.version()
    [(topic, facts)] = market.accepted(OPERATOR, "note_erasure", **ERASE).events
    assert (topic, facts) == ("documents.erased", {**ERASE, "digest": DESCRIPTION["digest"]})
    after = market.version()
    assert (after["erased"]["reason"], after["erased"]["checker"]) == ("本人要求删除", CHECKER.did)
    assert {**after, "erased": None} == before
    assert market.read(ANNE)["code"] == "DOCUMENT_ERASED"


@pytest.mark.req("G2-17-7")
def test_an_erasure_is_noted_once_by_the_owner_and_of_bodies_only() -> None:
    market = with_body()
    market.publish(document="notice", area="notices", content="公告")
    on_chain = market.act(OPERATOR, "note_erasure", **{**ERASE, "document": "notice"})
    assert on_chain.code == "DOCUMENT_NOT_ERASABLE"
    for changes, code in (
        ({"version": 2}, "DOCUMENT_UNKNOWN"),
        ({"document": "x"}, "DOCUMENT_UNKNOWN"),
    ):
        assert market.act(OPERATOR, "note_erasure", **{**ERASE, **changes}).code == code
    others = market.act((OTHER_MAKER, OTHER_CHECKER), "note_erasure", **ERASE)
    assert others.code == "DOCUMENT_OWNER_OTHER"
    assert market.act((MAKER, None), "note_erasure", **ERASE).code == "CHECKER_MISSING"
    for reason in ("", "13800138000", 7):
        body = {**ERASE, "reason": reason}
        assert market.act(OPERATOR, "note_erasure", **body).code in (
            "BODY_MALFORMED", "TIER_NONPUBLIC_ONCHAIN",
        )  # fmt: skip
    market.accepted(OPERATOR, "note_erasure", **ERASE)
    assert market.act(OPERATOR, "note_erasure", **ERASE).code == "DOCUMENT_ERASED"
