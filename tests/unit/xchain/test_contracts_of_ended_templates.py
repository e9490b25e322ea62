"""A contract outlives the end of its template, until the entities end it by its own rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guqiao_sdk.proof.receipt import Receipt
from tests.unit.templates.template_market import template
from tests.unit.xchain.common_contracts import call, deploy_common
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.test_deployments_by_template import (
    MAKER,
    MARKET_SIDE,
    OWN,
    REGISTRAR,
    SECOND,
    TECH_SIDE,
    Markets,
    governor,
    own_template,
    walk,
)

SUBJECT = template("subject")
STANDING = f"standing/subject/{1:020d}"


@pytest.fixture
def markets() -> Markets:
    """A market with a subject under way, whose template the CSRC has retired."""
    found = Markets.make(contracts=3, templates=2)
    deploy_common(found, SUBJECT, SUBJECT.contract.source)
    assert register(found, "S1").accepted
    body = {"id": "subject", "version": 1, "reason": "由新模板替代"}
    found.templates("retire", (MARKET_SIDE, TECH_SIDE), body)
    return found


def register(markets: Markets, subject_id: str) -> Receipt:
    return call(
        markets, "subject", "register_person", REGISTRAR,
        subject_id=subject_id, region="370000",
        identity_digest="1a" * 32, identity_reference="store:1",
    )  # fmt: skip


def upgrade(markets: Markets, version: int) -> Receipt:
    source = SUBJECT.contract.source.replace("STEPS_MAX = 1000", "STEPS_MAX = 900")
    assert source != SUBJECT.contract.source
    brought: dict[str, Any] = {
        "name": "subject",
        "compatible": True,
        "template": SUBJECT.to_json() | {"version": version},
        "standing": markets.standing(f"standing/subject/{version:020d}"),
    }
    return markets.ask("upgrade", markets.body(source, **brought))


def act(markets: Markets, method: str) -> Receipt:
    body = {"name": "subject", "reason": "模板停用"}
    return markets.ask(method, body, governor("shandong", 0))


def decide(markets: Markets, proposed: Receipt, standing: Any, *by: int) -> Receipt:
    assert proposed.accepted, (proposed.code, proposed.detail)
    for number in by:
        last = markets.approve(proposed, number, standing, name="subject")
        assert last.accepted, (last.code, last.detail)
    return last


@pytest.mark.req("G2-08-4", "G2-08-6")
def test_what_is_under_way_goes_on_to_its_end_after_its_template_is_retired(
    markets: Markets,
) -> None:
    for method, signers in (
        ("suspend", (REGISTRAR,)),
        ("resume", (REGISTRAR,)),
        ("deregister", (REGISTRAR, SECOND)),
    ):
        receipt = call(markets, "subject", method, *signers, subject_id="S1")
        assert receipt.accepted, (method, receipt.code, receipt.detail)


@pytest.mark.req("G2-08-6")
def test_a_pause_keeps_business_of_a_retired_template_from_beginning_and_is_undone_without_it(
    markets: Markets,
) -> None:
    decide(markets, act(markets, "pause"), None, 1)
    assert register(markets, "S2").code == "CONTRACT_PAUSED"
    decide(markets, act(markets, "resume"), None, 1, 2)
    assert register(markets, "S2").accepted


@pytest.mark.req("G2-08-6")
def test_no_upgrade_stays_with_a_retired_template_and_one_to_its_next_version_ends_it(
    markets: Markets,
) -> None:
    refused = upgrade(markets, 1)
    assert refused.code == "TEMPLATE_NOT_FILED"
    assert json.loads(refused.detail)["state"] == "RETIRED"
    markets.publish(SUBJECT, version=2)
    proposed = upgrade(markets, 2)
    last = decide(markets, proposed, markets.standing(f"standing/subject/{2:020d}"), 1, 2)
    (event,) = events(last, "contracts.upgraded")
    named = event["template"]
    assert isinstance(named, dict)
    assert named["version"] == 2
    assert call(markets, "subject", "suspend", REGISTRAR, subject_id="S1").accepted


@pytest.mark.req("G2-05-5", "G2-08-6")
def test_a_contract_of_a_retired_template_is_destroyed_once_nothing_is_under_way(
    markets: Markets,
) -> None:
    assert act(markets, "destroy").code == "CONTRACT_POSITIONS_OPEN"
    ended = call(markets, "subject", "deregister", REGISTRAR, SECOND, subject_id="S1")
    assert ended.accepted
    decide(markets, act(markets, "destroy"), None, 1, 2)
    assert register(markets, "S2").code == "CONTRACT_DESTROYED"


@pytest.mark.req("G2-08-7")
def test_the_same_holds_of_an_operators_own_template_that_was_withdrawn() -> None:
    markets = Markets.make(contracts=3, templates=2)
    walk(markets, "define", "file", "accept")
    markets.deploy(template=own_template(), standing=markets.standing(OWN))
    walk(markets, "withdraw")
    more: dict[str, Any] = {"transfer_id": "T1", "product": "P", "buyer": "A", "shares": 5}
    assert call(markets, "transfer", "credit", REGISTRAR, SECOND, **more).accepted
    more = {"transfer_id": "T2", "product": "P", "seller": "A", "buyer": "B", "shares": 3}
    assert call(markets, "transfer", "apply", MAKER, **more, price=1).accepted
    brought: dict[str, Any] = {
        "template": own_template(),
        "standing": markets.standing(OWN),
        "compatible": True,
    }
    source = template("transfer").contract.source.replace("STEPS_MAX = 1000", "STEPS_MAX = 900")
    refused = markets.ask("upgrade", markets.body(source, **brought))
    assert (refused.code, json.loads(refused.detail)["state"]) == (
        "TEMPLATE_NOT_FILED",
        "WITHDRAWN",
    )
