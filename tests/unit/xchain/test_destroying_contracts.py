"""A contract is destroyed when no business in it is under way."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts import deployment_positions
from services.consensus.domain.contracts.identity_record import IdentityRecord
from tests.unit.templates.template_market import template
from tests.unit.xchain.common_contracts import call, deploy_common
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.test_deployments_by_template import (
    REGISTRAR,
    SECOND,
    Markets,
    governor,
)

SUBJECT: Final = template("subject")
REASON: Final = {"name": "subject", "reason": "业务终止"}


@pytest.fixture
def markets() -> Markets:
    """A market whose contract of subjects is deployed."""
    found = Markets.make(contracts=3, templates=2)
    deploy_common(found, SUBJECT, SUBJECT.contract.source)
    return found


def act(markets: Markets, method: str, *signers: IdentityRecord, **arguments: Any) -> Receipt:
    receipt = call(markets, "subject", method, *signers, **arguments)
    assert receipt.accepted, (receipt.code, receipt.detail)
    return receipt


def register(markets: Markets, subject_id: str) -> None:
    act(
        markets, "register_person", REGISTRAR,
        subject_id=subject_id, region="370000",
        identity_digest="1a" * 32, identity_reference="store:1",
    )  # fmt: skip


def record(markets: Markets) -> dict[str, Any]:
    found = markets.shandong.value("contracts/contract/subject")
    assert isinstance(found, dict)
    return found


def destroy(markets: Markets) -> Receipt:
    return markets.ask("destroy", REASON, governor("shandong", 0))


@pytest.mark.req("G2-05-5", "G2-08-4")
def test_a_contract_with_a_business_under_way_is_not_destroyed(markets: Markets) -> None:
    for name in ("S1", "S2", "S3"):
        register(markets, name)
    act(markets, "deregister", REGISTRAR, SECOND, subject_id="S1")
    act(markets, "suspend", REGISTRAR, subject_id="S2")
    refused = destroy(markets)
    assert refused.code == "CONTRACT_POSITIONS_OPEN"
    assert json.loads(refused.detail) == {"contract": "subject", "open": 2, "first": "S2"}
    for name in ("S2", "S3"):
        act(markets, "deregister", REGISTRAR, SECOND, subject_id=name)
    assert destroy(markets).accepted


@pytest.mark.req("G2-05-5")
def test_a_business_that_begins_while_the_entities_decide_keeps_the_contract(
    markets: Markets,
) -> None:
    proposed = destroy(markets)
    assert markets.approve(proposed, 1, None, name="subject").accepted
    register(markets, "S1")
    late = markets.approve(proposed, 2, None, name="subject")
    assert late.code == "CONTRACT_POSITIONS_OPEN"
    assert record(markets)["status"] == "active"
    act(markets, "deregister", REGISTRAR, SECOND, subject_id="S1")
    done = markets.approve(proposed, 2, None, name="subject")
    assert [each["status"] for each in events(done, "contracts.destroyed")] == ["destroyed"]


def test_a_paused_contract_is_paused_whatever_is_under_way(markets: Markets) -> None:
    register(markets, "S1")
    assert markets.ask("pause", REASON, governor("shandong", 0)).accepted


def test_more_records_than_are_looked_at_are_not_taken_for_none(
    markets: Markets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment_positions, "POSITIONS_MAX", 1)
    for name in ("S1", "S2"):
        register(markets, name)
        act(markets, "deregister", REGISTRAR, SECOND, subject_id=name)
    refused = destroy(markets)
    assert (refused.code, json.loads(refused.detail)["limit"]) == ("LIMIT_EXCEEDED", "positions")


def test_version_2_asks_for_no_end_and_keeps_no_final_states() -> None:
    """What was accepted once is accepted whenever the chain is replayed."""
    markets = Markets.make(contracts=2)
    deploy_common(markets, SUBJECT, SUBJECT.contract.source)
    assert "final_states" not in record(markets)
    register(markets, "S1")
    assert destroy(markets).accepted
