"""What a contract answers stands in a receipt for ever: no number of a person does."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.unit.templates.template_market import template
from tests.unit.xchain.common_contracts import call, deploy_common
from tests.unit.xchain.test_deployments_by_template import REGISTRAR, Markets

SUBJECT: Final = template("subject")
PARTS: Final = ("13900", "000000")
SAID: Final = f'"{PARTS[0]}" + "{PARTS[1]}"'
SOURCE: Final = SUBJECT.contract.source.replace(
    'emit("subject.suspended", {"subject_id": subject_id, "state": "SUSPENDED"})',
    'emit("subject.suspended", {"subject_id": subject_id, "state": "SUSPENDED"})\n'
    f'    return [{{"of": {SAID}}}]',
).replace(
    "def resume(subject_id):\n",
    f'def resume(subject_id):\n    require(subject_id != "S1", "NOT_THIS_ONE", told={SAID})\n',
)
"""A contract that puts together what no check of its arguments or of its state can see."""


def market(contracts: int) -> Markets:
    markets = Markets.make(contracts=contracts, templates=contracts - 1)
    deploy_common(markets, SUBJECT, SOURCE)
    register = {
        "subject_id": "S1", "region": "370000",
        "identity_digest": "1a" * 32, "identity_reference": "store:1",
    }  # fmt: skip
    assert call(markets, "subject", "register_person", REGISTRAR, **register).accepted
    return markets


def state_of(markets: Markets) -> Any:
    record = markets.shandong.value("subject/subject/S1")
    assert isinstance(record, dict)
    return record["state"]


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize("method", ["suspend", "resume"])
def test_a_result_or_a_reason_with_a_number_of_a_person_is_refused_unsaid(method: str) -> None:
    markets = market(3)
    receipt = call(markets, "subject", method, REGISTRAR, subject_id="S1")
    assert receipt.code == "TIER_NONPUBLIC_ONCHAIN"
    assert "".join(PARTS).encode() not in receipt.encode()
    assert state_of(markets) == "REGISTERED", "nothing of the call stays"


def test_version_2_tells_what_it_told() -> None:
    """What an earlier version took is taken whenever the chain is replayed."""
    markets = market(2)
    assert call(markets, "subject", "suspend", REGISTRAR, subject_id="S1").accepted
    assert call(markets, "subject", "resume", REGISTRAR, subject_id="S1").code == "CONTRACT_REFUSED"


def test_other_answers_are_told_as_ever() -> None:
    markets = market(3)
    receipt = call(markets, "subject", "subject", REGISTRAR, subject_id="S1")
    assert receipt.accepted
    assert b'"region":"370000"' in receipt.detail
