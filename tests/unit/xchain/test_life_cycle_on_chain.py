"""Version 5 of `contracts`: calls are held against the life cycle and the tiers of the template.

Each contract here conforms as far as anybody sees who does not run it: what it leaves out stands
behind a condition that never holds.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from tests.unit.templates.template_market import template
from tests.unit.xchain.common_contracts import call, deploy_common
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.test_deployments_by_template import (
    MAKER,
    REGISTRAR,
    REVIEWER,
    SECOND,
    Markets,
)

TRANSFER: Final = template("transfer")
SOURCE: Final = TRANSFER.contract.source
NEVER: Final = "if height() < 0:\n        "
CREDIT: Final[dict[str, Json]] = {
    "transfer_id": "T1", "product": "P1", "buyer": "holder-7", "shares": 37_501,
}  # fmt: skip
APPLY: Final[dict[str, Json]] = {
    "transfer_id": "T2",
    "product": "P1",
    "seller": "holder-7",
    "buyer": "holder-8",
    "shares": 1,
    "price": 2,
}
BOTH: Final = (REGISTRAR, SECOND)
DIVIDED: Final = '"138" + "00138000"'


def spoiled(*changes: tuple[str, str]) -> str:
    """The source of the common transfer with other text in some places."""
    source = SOURCE
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def market(source: str = SOURCE, *, contracts: int = 5) -> Markets:
    markets = Markets.make(contracts=contracts, templates=2)
    deploy_common(markets, TRANSFER, source)
    return markets


def credited(source: str = SOURCE, *, contracts: int = 5) -> Markets:
    markets = market(source, contracts=contracts)
    receipt = call(markets, "transfer", "credit", *BOTH, **CREDIT)
    assert receipt.accepted, receipt.detail
    return markets


def applied(source: str = SOURCE, *, contracts: int = 5) -> Markets:
    markets = credited(source, contracts=contracts)
    receipt = call(markets, "transfer", "apply", MAKER, **APPLY)
    assert receipt.accepted, receipt.detail
    return markets


def facts(receipt: Receipt) -> Any:
    return json.loads(receipt.detail)


def stored(markets: Markets, key: str) -> Any:
    return markets.shandong.value(f"transfer/{key}")


# --- Who, from where to where, with which event ---------------------------------------------------


@pytest.mark.req("G2-08-4", "G2-08-5")
def test_what_keeps_to_its_template_goes_through_all_its_steps() -> None:
    markets = applied()
    assert call(markets, "transfer", "complete", *BOTH, transfer_id="T2").accepted
    assert stored(markets, "transfer/T2")["state"] == "COMPLETED"
    record = markets.shandong.value("contracts/contract/transfer")
    assert isinstance(record, dict)
    assert record["deployer"] == 5


ASKS_NOBODY: Final = (
    'require(role in maker["roles"]',
    NEVER + 'require(role in maker["roles"]',
)
NO_SECOND: Final = (
    """    require(second != None, "CHECKER_MISSING", roles=role)
    require(second["did"] != sender()["did"], "CHECKER_IS_MAKER")
    require(role in second["roles"], "ROLE_MISSING", roles=role)
    return second["did"]""",
    """    if height() < 0:
        require(second != None, "CHECKER_MISSING", roles=role)
    return None""",
)


@pytest.mark.req("G2-08-4", "G2-17-3")
@pytest.mark.parametrize(
    ("change", "signers", "signer"),
    [
        (ASKS_NOBODY, (MAKER, SECOND), "maker"),
        (NO_SECOND, (REGISTRAR,), "checker"),
        (NO_SECOND, (REGISTRAR, REVIEWER), "checker"),
    ],
)
def test_a_check_of_roles_that_is_never_made_lets_nobody_through(
    change: tuple[str, str], signers: Any, signer: str
) -> None:
    markets = market(spoiled(change))
    receipt = call(markets, "transfer", "credit", *signers, **CREDIT)
    assert (receipt.code, facts(receipt)["signer"]) == ("TEMPLATE_ROLE_MISSING", signer)
    assert stored(markets, "transfer/T1") is None, "nothing of the call stays"
    assert call(markets, "transfer", "credit", *BOTH, **CREDIT).accepted
    before = market(spoiled(change), contracts=4)
    assert call(before, "transfer", "credit", *signers, **CREDIT).accepted, "as it was replayed"


EMITTED: Final = 'emit("transfer.credited", {"transfer_id": transfer_id, "product": product'
WRONG_STEPS: Final = {
    "no event": ((EMITTED, NEVER + EMITTED), "TEMPLATE_EVENT_MISSING", None),
    "the event of another business": (
        (EMITTED, EMITTED.replace('"transfer_id": transfer_id', '"transfer_id": "T0"')),
        "TEMPLATE_EVENT_MISSING",
        None,
    ),
    "the event of another state": (
        (EMITTED + ', "state": "CREDITED"', EMITTED + ', "state": "APPLIED"'),
        "TEMPLATE_EVENT_MISSING",
        None,
    ),
    "the event of another step": (
        (
            EMITTED,
            EMITTED.replace("credited", "rejected") + ', "state": "REJECTED"})\n    ' + EMITTED,
        ),
        "TEMPLATE_EVENT_OTHER",
        None,
    ),
    "no step for supervision": (
        ('_step(transfer_id, "credit"', NEVER + '_step(transfer_id, "credit"'),
        "TEMPLATE_STEP_MISSING",
        "nothing",
    ),
    "the step of another business": (
        ('_step(transfer_id, "credit"', '_step(transfer_id + "1", "credit"'),
        "TEMPLATE_STEP_MISSING",
        "nothing",
    ),
    "no business": (
        (
            '_write(transfer_id, product, "CREDITED")',
            NEVER + '_write(transfer_id, product, "CREDITED")',
        ),
        "TEMPLATE_TRANSITION_WRONG",
        "nothing",
    ),
    "another state": (
        (
            '_write(transfer_id, product, "CREDITED")',
            '_write(transfer_id, product, "CREDITED" if height() < 0 else "APPLIED")',
        ),
        "TEMPLATE_TRANSITION_WRONG",
        "to",
    ),
    "a business that is deleted": (
        ('_step(transfer_id, "credit"', 'delete("transfer/T0")\n    _step(transfer_id, "credit"'),
        "TEMPLATE_TRANSITION_WRONG",
        "deleted",
    ),
    "steps that are deleted": (
        ('_step(transfer_id, "credit"', 'delete("trace/T0")\n    _step(transfer_id, "credit"'),
        "TEMPLATE_STEP_MISSING",
        "deleted",
    ),
}


@pytest.mark.req("G2-08-4", "G2-08-5")
@pytest.mark.parametrize("name", WRONG_STEPS)
def test_a_step_that_is_not_the_templates_is_undone(name: str) -> None:
    change, code, why = WRONG_STEPS[name]
    markets = market(spoiled(change))
    receipt = call(markets, "transfer", "credit", *BOTH, **CREDIT)
    assert (receipt.code, facts(receipt).get("why")) == (code, why)
    assert facts(receipt)["step"] == "credit"
    assert (stored(markets, "transfer/T1"), receipt.events) == (None, ())


@pytest.mark.req("G2-08-4", "G2-08-5")
def test_a_business_is_not_moved_from_where_the_step_does_not_begin() -> None:
    change = ('require(state in states, "ILL', NEVER + 'require(state in states, "ILL')
    markets = credited(spoiled(change))
    again = call(markets, "transfer", "credit", *BOTH, **CREDIT)
    assert (again.code, facts(again)["why"]) == ("TEMPLATE_TRANSITION_WRONG", "from")
    before = credited(spoiled(change), contracts=4)
    assert call(before, "transfer", "credit", *BOTH, **CREDIT).accepted


# --- What is restricted leaves by no answer -------------------------------------------------------


@pytest.mark.req("G2-17-6", "G2-19-1")
@pytest.mark.parametrize(
    ("view", "arguments"),
    [
        ("terms", {"transfer_id": "T2"}),
        ("terms", {"transfer_id": "T9"}),
        ("position", {"product": "P1", "seller": "holder-7"}),
    ],
)
def test_who_has_no_role_of_the_template_reads_nothing_restricted(
    view: str, arguments: dict[str, Any]
) -> None:
    markets = applied()
    receipt = call(markets, "transfer", view, REVIEWER, **arguments)
    assert receipt.code == "READ_CONDITION_UNMET"
    assert set(facts(receipt)) == {"at", "group"}
    open_to_all = call(applied(contracts=4), "transfer", view, REVIEWER, **arguments)
    assert "result" in facts(open_to_all), "as it was replayed"


@pytest.mark.req("G2-17-6", "G2-19-1")
def test_to_who_has_a_role_it_is_not_told_in_a_receipt_either() -> None:
    markets = applied()
    terms = call(markets, "transfer", "terms", REGISTRAR, transfer_id="T2")
    assert terms.accepted
    assert facts(terms) == {"gas": facts(terms)["gas"], "result_withheld": "RESTRICTED"}
    nothing = call(markets, "transfer", "terms", REGISTRAR, transfer_id="T9")
    assert facts(nothing)["result"] is None
    many = APPLY | {"transfer_id": "T3", "shares": 90_000}
    refused = call(markets, "transfer", "apply", MAKER, **many)
    assert (refused.code, facts(refused)["reason"]) == ("CONTRACT_REFUSED", "SHARES_INSUFFICIENT")
    assert facts(refused)["facts_withheld"] == "RESTRICTED"
    assert b"37500" not in refused.detail
    before = call(applied(contracts=4), "transfer", "apply", MAKER, **many)
    assert facts(before)["facts"] == {"asked": 90_000, "available": 37_500}


@pytest.mark.req("G2-08-5", "G2-17-6")
def test_steps_and_what_is_public_are_told_as_ever() -> None:
    markets = applied()
    traced = call(markets, "transfer", "trace", REVIEWER, business_id="T2")
    assert [each["state"] for each in facts(traced)["result"]] == ["APPLIED"]
    wrong = call(markets, "transfer", "complete", *BOTH, transfer_id="T1")
    assert facts(wrong)["facts"] == {"state": "CREDITED", "event": "complete"}


@pytest.mark.req("G2-17-6", "G2-19-1")
def test_an_error_of_the_engine_tells_no_restricted_value() -> None:
    line = 'require(shares <= available, "SHARES_INSUFFICIENT"'
    source = spoiled((line, f'found = {{}}["held " + str(available)]\n    {line}'))
    receipts = [
        call(credited(source, contracts=contracts), "transfer", "apply", MAKER, **APPLY)
        for contracts in (4, 5)
    ]
    assert [each.code for each in receipts] == ["CONTRACT_KEY_MISSING"] * 2
    assert facts(receipts[0])["key"] == "held 37501"
    assert set(facts(receipts[1])) == {"at", "facts_withheld"}


# --- Numbers of persons in errors of the engine ---------------------------------------------------


@pytest.mark.req("G2-17-7", "G2-19-1")
def test_an_error_of_the_engine_is_searched_for_numbers_of_persons() -> None:
    source = spoiled((EMITTED, f"found = {{}}[{DIVIDED}]\n    {EMITTED}"))
    before, now = (
        call(market(source, contracts=contracts), "transfer", "credit", *BOTH, **CREDIT)
        for contracts in (4, 5)
    )
    assert facts(before)["key"] == "13800138000"
    assert (now.code, facts(now)["kind"]) == ("TIER_NONPUBLIC_ONCHAIN", "PHONE")
    assert facts(now)["at"] == facts(before)["at"], "where it was"
    assert b"8000" not in now.detail


@pytest.mark.req("G2-17-7", "G2-19-1")
def test_a_number_that_the_engine_cut_is_not_told_in_part() -> None:
    key = f'"{"a" * 55}" + {DIVIDED}'
    begin = '_begin(transfer_id, product, "credit")'
    source = spoiled((begin, f"found = {{}}[{key}]\n    {begin}"))
    receipt = call(market(source), "transfer", "credit", *BOTH, **CREDIT)
    assert receipt.code == "CONTRACT_KEY_MISSING"
    assert facts(receipt)["key"] == {"omitted_characters": 64}


@pytest.mark.req("G2-17-7", "G2-19-1")
def test_a_reason_that_spells_a_number_is_not_told() -> None:
    begin = '_begin(transfer_id, product, "credit")'
    source = spoiled((begin, f'require(False, "NO_" + {DIVIDED})\n    {begin}'))
    receipt = call(market(source), "transfer", "credit", *BOTH, **CREDIT)
    assert (receipt.code, facts(receipt)["kind"]) == ("TIER_NONPUBLIC_ONCHAIN", "PHONE")
    assert b"8000" not in receipt.detail


# --- Upgrades are judged by their templates, too --------------------------------------------------

CHANGED: Final = SOURCE.replace("STEPS_MAX = 1000", "STEPS_MAX = 999")


SAME: Final[dict[str, Any]] = {"compatible": True, "former_template": None, "notice": None}


def opened(markets: Markets, **changes: Json) -> dict[str, Any]:
    """A second version of the template in which what was restricted is public, in force, and what
    an upgrade to it brings.
    """
    value: dict[str, Any] = TRANSFER.to_json()
    groups = [each | {"tier": "PUBLIC"} for each in value["groups"]]
    markets.publish(TRANSFER, version=2, groups=groups)
    return {
        "template": value | {"version": 2, "groups": groups},
        "standing": markets.standing(f"standing/transfer/{2:020d}"),
        "former_template": TRANSFER.to_json(),
        "notice": None,
        **changes,
    }


@pytest.mark.req("G2-14-4")
def test_a_field_that_becomes_public_breaks_though_the_interface_stays() -> None:
    markets = market()
    body = markets.body(CHANGED, **opened(markets, compatible=True))
    refused = markets.ask("upgrade", body)
    assert refused.code == "UPGRADE_MISCLASSIFIED"
    places = [each["place"] for each in facts(refused)["changes"]]
    assert places == ["groups.position.tier", "groups.terms.tier"]


@pytest.mark.req("G2-14-4")
def test_version_4_saw_no_template_and_took_it_for_compatible() -> None:
    markets = market(contracts=4)
    brought = opened(markets, compatible=True)
    del brought["former_template"], brought["notice"]
    (event,) = events(
        markets.ask("upgrade", markets.body(CHANGED, **brought)), "contracts.proposed"
    )
    assert event["compatible"] is True


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize("former", [None, 1, {}, TRANSFER.to_json() | {"version": 7}])
def test_the_template_to_compare_with_is_the_one_that_the_contract_runs_by(former: Any) -> None:
    markets = market()
    body = markets.body(CHANGED, **opened(markets, compatible=False, former_template=former))
    refused = markets.ask("upgrade", body)
    assert refused.code in ("BODY_MALFORMED", "TEMPLATE_MALFORMED")


@pytest.mark.req("G2-14-4")
def test_an_upgrade_within_the_same_template_needs_no_other() -> None:
    markets = market()
    more = {"compatible": True, "former_template": TRANSFER.to_json(), "notice": None}
    refused = markets.ask("upgrade", markets.body(CHANGED, **more))
    assert (refused.code, facts(refused)["field"]) == ("BODY_MALFORMED", "former_template")
    last = markets.deploy("upgrade", source=CHANGED, **SAME)
    (event,) = events(last, "contracts.upgraded")
    assert (event["compatible"], event["template_changes_count"]) == (True, 0)
