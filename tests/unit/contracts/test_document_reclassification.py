"""Another tier for a document: stricter at once, less strict by two entities that do not own it."""

from __future__ import annotations

from typing import Any

import pytest

from services.consensus.domain.contracts.document_reclassification import PROPOSAL_LIFE_MS
from services.consensus.domain.contracts.host import Party
from tests.unit.contracts.document_market import (
    ADMIN,
    ANNE,
    CHECKER,
    DESCRIPTION,
    GOVERNORS,
    MAKER,
    OTHER_CHECKER,
    OTHER_MAKER,
    DocumentMarket,
    party,
    sealed_for,
)
from tests.unit.contracts.memory_host import Outcome

OPERATOR = (MAKER, CHECKER)

pytestmark = pytest.mark.req("G2-17-6")


def nonpublic() -> DocumentMarket:
    market = DocumentMarket()
    assert market.publish(area="files", **DESCRIPTION).code is None
    return market


def reclassify(market: DocumentMarket, area: str, **changes: Any) -> Outcome:
    body: dict[str, Any] = {"document": "report", "area": area, "reason": "经复核可公开"}
    return market.act(OPERATOR, "reclassify", **(body | changes))


def proposed(market: DocumentMarket, area: str = "notices") -> str:
    assert reclassify(market, area).code is None
    found: str = market.record("reclassification/report")["proposal"]
    return found


def approve(market: DocumentMarket, entity: str, proposal: str) -> Outcome:
    body = {"document": "report", "proposal": proposal}
    return market.act((GOVERNORS[entity], None), "approve_reclassification", **body)


def area_of(market: DocumentMarket) -> tuple[str, str]:
    head = market.record("document/report")
    return head["area"], head["tier"]


def test_a_stricter_tier_takes_effect_at_once_and_is_told() -> None:
    market = DocumentMarket()
    market.publish(area="notices", content="公告")
    outcome = reclassify(market, "files")
    assert [topic for topic, _ in outcome.events] == ["documents.reclassified"]
    assert area_of(market) == ("files", "NONPUBLIC")
    assert market.publish(version=2, area="files", **DESCRIPTION).code is None
    assert market.version(version=1)["tier"] == "PUBLIC"
    assert market.publish(version=3, area="notices", content="公告").code == "DOCUMENT_AREA_OTHER"


def test_a_downgrade_takes_two_entities_that_do_not_own_the_document() -> None:
    market = nonpublic()
    proposal = proposed(market)
    assert area_of(market) == ("files", "NONPUBLIC")
    own = approve(market, "owner", proposal)
    assert own.code == "DOCUMENT_APPROVER_IS_OWNER"
    assert approve(market, "bank", proposal).code is None
    assert area_of(market) == ("files", "NONPUBLIC")
    again = approve(market, "bank", proposal)
    assert (again.code, again.events) == (None, [])
    assert area_of(market) == ("files", "NONPUBLIC")
    last = approve(market, "notary", proposal)
    topics = [topic for topic, _ in last.events]
    assert topics == ["documents.reclassification_approved", "documents.reclassified"]
    [_, (_, facts)] = last.events
    assert isinstance(facts, dict)
    assert (facts["approvals"], facts["reason"]) == (["bank", "notary"], "经复核可公开")
    assert area_of(market) == ("notices", "PUBLIC")
    assert market.record("reclassification/report") is None
    assert approve(market, "centre", proposal).code == "PROPOSAL_UNKNOWN"
    assert market.publish(version=2, area="notices", content="公告").code is None
    assert market.version(version=1)["tier"] == "NONPUBLIC"


def test_another_circle_of_the_same_tier_is_a_downgrade_too() -> None:
    market = DocumentMarket()
    market.accepted((ADMIN, CHECKER), "define_area", area="wide", tier="RESTRICTED", title="宽")
    market.grant("offers", ANNE)
    market.publish(area="offers", sealed=sealed_for(ANNE).to_json())
    proposal = proposed(market, "wide")
    assert area_of(market)[0] == "offers"
    approve(market, "bank", proposal)
    approve(market, "centre", proposal)
    assert area_of(market)[0] == "wide"


def test_a_newer_proposal_or_move_takes_the_place_of_an_open_one() -> None:
    market = nonpublic()
    first = proposed(market, "notices")
    approve(market, "bank", first)
    second = proposed(market, "offers")
    assert approve(market, "notary", first).code == "PROPOSAL_UNKNOWN"
    assert approve(market, "notary", second).code is None
    assert area_of(market)[0] == "files"


def test_a_stricter_move_voids_an_open_downgrade() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.publish(area="offers", sealed=sealed_for(ANNE).to_json())
    proposal = proposed(market, "notices")
    approve(market, "bank", proposal)
    assert reclassify(market, "files").code is None
    assert approve(market, "notary", proposal).code == "PROPOSAL_UNKNOWN"


def test_a_proposal_expires() -> None:
    market = nonpublic()
    proposal = proposed(market)
    approve(market, "bank", proposal)
    market.host.block_ms += PROPOSAL_LIFE_MS + 1
    assert approve(market, "notary", proposal).code == "PROPOSAL_EXPIRED"
    assert area_of(market)[0] == "files"


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((ADMIN, CHECKER), "ROLE_MISSING"),
        ((MAKER, None), "CHECKER_MISSING"),
        ((OTHER_MAKER, OTHER_CHECKER), "DOCUMENT_OWNER_OTHER"),
    ],
)
def test_the_owner_proposes_with_two_signers(who: tuple[Party, Party | None], code: str) -> None:
    market = nonpublic()
    body = {"document": "report", "area": "notices", "reason": "x"}
    assert market.act(who, "reclassify", **body).code == code


def test_governors_of_the_set_in_force_approve_and_nobody_else() -> None:
    market = nonpublic()
    body = {"document": "report", "proposal": proposed(market)}
    for who, code in (
        (MAKER, "ROLE_MISSING"),
        (ADMIN, "ROLE_MISSING"),
        (party("governor", "did:rem:shandong:gone", "governor"), "GOVERNANCE_ENTITY_UNKNOWN"),
    ):
        assert market.act((who, None), "approve_reclassification", **body).code == code


def test_a_move_names_a_document_and_another_area_that_exist() -> None:
    market = nonpublic()
    assert reclassify(market, "files").code == "DOCUMENT_AREA_SAME"
    assert reclassify(market, "nowhere").code == "DOCUMENT_AREA_UNKNOWN"
    assert reclassify(market, "notices", document="other").code == "DOCUMENT_UNKNOWN"
    assert reclassify(market, "notices", reason="").code == "BODY_MALFORMED"
    assert approve(market, "bank", "00" * 32).code == "PROPOSAL_UNKNOWN"
