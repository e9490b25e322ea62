"""Areas and grants: who decides on readers, under which conditions, and that history is kept."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts import document_areas
from services.consensus.domain.contracts.document_areas import readers_in_force
from services.consensus.domain.contracts.host import Party
from tests.unit.contracts.document_market import (
    ADMIN,
    ANNE,
    BO,
    CHECKER,
    DAY_MS,
    EVE,
    MAKER,
    OTHER_CHECKER,
    OWNER,
    DocumentMarket,
    party,
)

BOTH = (ADMIN, CHECKER)
HOLDER: Json = {"kind": "holder", "product": "P/1", "account": "Q1"}
QUALIFIED: Json = {"kind": "qualified", "product": "P/1", "account": "Q1"}


def readers(market: DocumentMarket, area: str = "offers") -> dict[str, int]:
    return readers_in_force(market.host, area)


@pytest.mark.req("G2-17-3")
@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((MAKER, CHECKER), "ROLE_MISSING"),
        ((ADMIN, None), "CHECKER_MISSING"),
        ((ADMIN, ADMIN), "CHECKER_IS_MAKER"),
        ((ADMIN, MAKER), "ROLE_MISSING"),
        ((ADMIN, OTHER_CHECKER), "ROLE_MISSING"),
        ((ANNE, None), "ROLE_MISSING"),
    ],
)
def test_the_administrator_with_a_checker_decides_on_areas_and_readers(
    who: tuple[Party, Party | None], code: str
) -> None:
    market = DocumentMarket()
    for method in ("define_area", "grant", "revoke"):
        assert market.act(who, method).code == code


def test_an_area_is_defined_once_and_keeps_its_tier() -> None:
    market = DocumentMarket()
    again = market.act(BOTH, "define_area", area="offers", tier="PUBLIC", title="公开")
    assert (again.code, again.fields) == ("DOCUMENT_AREA_EXISTS", {"area": "offers"})
    assert market.record("area/offers")["tier"] == "RESTRICTED"
    for changes in ({"tier": "SECRET"}, {"tier": None}, {"area": "A"}, {"title": ""}, {"more": 1}):
        body = {"area": "new", "tier": "PUBLIC", "title": "新区域", **changes}
        assert market.act(BOTH, "define_area", **body).code == "BODY_MALFORMED"


@pytest.mark.req("G2-17-6")
def test_grants_and_revocations_are_kept_for_ever() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.revoke("offers", ANNE)
    market.grant("offers", ANNE, purpose="audit")
    first, second = (market.record(f"grant/offers/{number:020d}") for number in (1, 2))
    assert (first["reader"], first["purpose"], first["maker"]) == (ANNE.did, "review", ADMIN.did)
    assert (first["revoked"]["reason"], first["revoked"]["checker"]) == ("离职", CHECKER.did)
    assert (second["purpose"], second["revoked"]) == ("audit", None)
    assert readers(market) == {ANNE.did: 2}


def test_a_reader_has_one_grant_in_an_area_at_a_time() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    body: dict[str, Any] = {
        "area": "offers", "reader": ANNE.did, "purpose": "audit", "condition": None,
    }  # fmt: skip
    assert market.act(BOTH, "grant", **body).code == "DOCUMENT_GRANT_EXISTS"
    market.grant("files", ANNE, purpose="audit")
    unknown = market.act(BOTH, "revoke", area="offers", reader=BO.did, reason="x")
    assert unknown.code == "DOCUMENT_GRANT_UNKNOWN"


def test_what_is_public_needs_no_grant_and_what_is_not_there_takes_none() -> None:
    market = DocumentMarket()
    body: dict[str, Any] = {"reader": ANNE.did, "purpose": "review", "condition": None}
    assert market.act(BOTH, "grant", area="notices", **body).code == "DOCUMENT_AREA_PUBLIC"
    assert market.act(BOTH, "grant", area="other", **body).code == "DOCUMENT_AREA_UNKNOWN"
    gone = market.act(BOTH, "revoke", area="other", reader=ANNE.did, reason="x")
    assert gone.code == "DOCUMENT_AREA_UNKNOWN"


@pytest.mark.req("G2-17-3")
def test_only_who_is_known_and_active_becomes_a_reader() -> None:
    market = DocumentMarket()
    stranger, former = party("stranger", OWNER), party("former", OWNER)
    market.identify(former, active=False)
    body: dict[str, Any] = {"area": "offers", "purpose": "review", "condition": None}
    assert market.act(BOTH, "grant", reader=stranger.did, **body).code == "IDENTITY_UNKNOWN"
    assert market.act(BOTH, "grant", reader=former.did, **body).code == "IDENTITY_DEACTIVATED"


@pytest.mark.req("G2-17-6")
def test_a_deactivated_reader_reads_nothing_though_nobody_revoked() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.grant("offers", BO)
    market.identify(BO, active=False)
    assert readers(market) == {ANNE.did: 1}


@pytest.mark.req("G2-17-6")
def test_a_condition_on_a_role_is_asked_at_each_use() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE, {"kind": "role", "role": "observer"})
    market.grant("offers", BO, {"kind": "role", "role": "supervisor"})
    assert readers(market) == {ANNE.did: 1}
    market.identify(party("bo", BO.organisation, "supervisor"))
    assert readers(market) == {ANNE.did: 1, BO.did: 2}


@pytest.mark.req("G2-17-6")
def test_a_condition_on_a_shareholder_follows_the_register() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE, HOLDER)
    assert readers(market) == {}
    market.hold("P/1", "Q1", 100)
    assert readers(market) == {ANNE.did: 1}
    market.hold("P/1", "Q1", 0)
    market.hold("P/2", "Q1", 100)
    assert readers(market) == {}


@pytest.mark.req("G2-17-6")
def test_a_condition_on_a_qualified_investor_ends_with_its_day() -> None:
    market = DocumentMarket()
    market.host.block_ms = 1_756_223_999_000  # 2025-08-26 23:59:59 in Beijing.
    market.grant("offers", ANNE, QUALIFIED)
    assert readers(market) == {}
    market.hold("P/1", "Q1", 0, "UNQUALIFIED")
    assert readers(market) == {}
    market.hold("P/1", "Q1", 0, "QUALIFIED", "2025-08-26")
    assert readers(market) == {ANNE.did: 1}
    market.host.block_ms += 1_000
    assert readers(market) == {}
    market.hold("P/1", "Q1", 10, "EXEMPT")
    assert readers(market) == {ANNE.did: 1}


@pytest.mark.parametrize(
    "condition",
    [
        "role", {}, {"kind": "anyone"}, {"kind": ["role"]}, {"kind": "role"},
        {"kind": "role", "role": "No"}, {"kind": "role", "role": "observer", "more": 1},
        {"kind": "holder", "product": "P"}, {"kind": "holder", "product": "", "account": "Q"},
        {"kind": "qualified", "product": "P", "account": 7},
    ],
)  # fmt: skip
def test_a_condition_is_one_of_those_that_are_known(condition: Json) -> None:
    body: dict[str, Any] = {"area": "offers", "reader": ANNE.did, "purpose": "review"}
    refused = DocumentMarket().act(BOTH, "grant", **body, condition=condition)
    assert refused.code == "BODY_MALFORMED"
    assert str(refused.fields["field"]).startswith("condition")


def test_an_area_has_room_for_so_many_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_areas, "READERS_MAX", 2)
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.grant("offers", BO)
    body: dict[str, Any] = {"area": "offers", "purpose": "review", "condition": None}
    full = market.act(BOTH, "grant", reader=EVE.did, **body)
    assert (full.code, full.fields["limit"]) == ("LIMIT_EXCEEDED", "area_readers")
    market.revoke("offers", ANNE)
    market.grant("offers", EVE)


def test_a_grant_does_not_outlive_its_keys_by_much() -> None:
    """Time alone ends no grant: it is the key that must be in force when something is sealed."""
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.host.block_ms += 400 * DAY_MS
    assert readers(market) == {ANNE.did: 1}
