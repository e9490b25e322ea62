"""Version 4 of `contracts`: a release is analysed and run on a test network before it is deployed,
and numbers of persons are looked for in any writing, as they were not before.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.deployments import DeploymentsContract
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.contracts.light_client import LightClientContract
from tests.unit.templates.template_market import template
from tests.unit.xchain.common_contracts import call, deploy_common
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import BOTH_SIDES, Registry
from tests.unit.xchain.release_evidence import ANALYSIS, EVIDENCE, TEST_RUN
from tests.unit.xchain.test_deployments_by_template import REGISTRAR, Markets
from tests.unit.xchain.test_screened_packets import CLEAN, acknowledgements, delivered

REFUSED: Final = "TIER_NONPUBLIC_ONCHAIN"
DISGUISED: Final = "138.0013.\uff18\uff10\uff10\uff10"
SUBJECT: Final = template("subject")


@pytest.fixture
def markets() -> Markets:
    found = Markets.make(contracts=4, templates=2)
    found.publish()
    return found


def asked(markets: Markets, **tests: Any) -> tuple[str, Any]:
    """The code of a deployment whose report of tests has other members, and what is told."""
    body = markets.body()
    found = {name: each for name, each in (body["tests"] | tests).items() if each is not ...}
    receipt = markets.ask("deploy", body | {"tests": found})
    return receipt.code, json.loads(receipt.detail)


@pytest.mark.req("G2-16-5")
def test_a_release_that_was_analysed_and_run_is_deployed_and_its_evidence_told(
    markets: Markets,
) -> None:
    last = markets.deploy()
    (event,) = events(last, "contracts.deployed")
    assert isinstance(event["tests"], dict)
    assert {name: event["tests"][name] for name in EVIDENCE} == EVIDENCE
    record = markets.shandong.value("contracts/contract/transfer")
    assert isinstance(record, dict)
    assert record["deployer"] == 4


@pytest.mark.req("G2-16-5")
@pytest.mark.parametrize(
    ("member", "code"),
    [("analysis", "CONTRACT_UNANALYSED"), ("test_run", "CONTRACT_TEST_RUN_MISSING")],
)
@pytest.mark.parametrize("value", [..., None])
def test_without_either_nothing_is_deployed(
    markets: Markets, member: str, code: str, value: Any
) -> None:
    found, told = asked(markets, **{member: value})
    assert (found, member in told["fault"]) == (code, True)


@pytest.mark.req("G2-16-5")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"analysis": "none"}, "tests.analysis"),
        ({"analysis": {}}, "tests.analysis.findings"),
        ({"analysis": ANALYSIS | {"more": 1}}, "tests.analysis.more"),
        ({"analysis": ANALYSIS | {"tool": ""}}, "tests.analysis.tool"),
        ({"analysis": ANALYSIS | {"version": "1" * 65}}, "tests.analysis.version"),
        ({"analysis": ANALYSIS | {"findings": "3c"}}, "tests.analysis.findings"),
        ({"test_run": []}, "tests.test_run"),
        ({"test_run": {"chain": "shandong"}}, "tests.test_run.transaction"),
        ({"test_run": TEST_RUN | {"chain": 1}}, "tests.test_run.chain"),
        ({"test_run": TEST_RUN | {"transaction": "4D" * 32}}, "tests.test_run.transaction"),
        ({"more": 1}, "tests.more"),
        ({"passed": 0}, "tests.passed"),
    ],
)
def test_evidence_of_another_form_is_refused_by_its_place(
    markets: Markets, changes: Any, field: str
) -> None:
    found, told = asked(markets, **changes)
    assert (found, told["field"]) == ("BODY_MALFORMED", field)


def test_version_3_asks_for_neither_and_takes_neither() -> None:
    """What it accepted and refused once, it does whenever the chain is replayed."""
    markets = Markets.make(contracts=3, templates=2)
    markets.publish()
    assert asked(markets)[0] == ""
    found, told = asked(markets, **EVIDENCE)
    assert (found, told["field"]) == ("BODY_MALFORMED", "tests.analysis")
    assert markets.deploy().accepted
    record = markets.shandong.value("contracts/contract/transfer")
    assert isinstance(record, dict)
    assert "deployer" not in record


@pytest.mark.parametrize("version", [3, 4])
def test_what_was_proposed_to_a_version_is_not_approved_by_the_next(version: int) -> None:
    markets = Markets.make(contracts=version, templates=2)
    markets.publish()
    proposed = markets.ask("deploy", markets.body())
    assert proposed.accepted
    chain = markets.shandong
    assert markets.approve(proposed, 1, markets.standing()).accepted
    chain.genesis = replace(
        chain.genesis,
        contracts=tuple(
            replace(each, version=version + 1) if each.name == "contracts" else each
            for each in chain.genesis.contracts
        ),
    )
    others = (IdentityContract(), GovernanceContract(), LightClientContract(1))
    chain.catalogue = Catalogue((*others, DeploymentsContract(version + 1)))
    markets.contracts = version + 1
    assert markets.approve(proposed, 2, markets.standing()).code == "PROPOSAL_EXPIRED"


# --- Numbers of persons in other writings ---------------------------------------------------------


def registered(contracts: int, **arguments: Json) -> str:
    """The code of a call whose argument is what is written, and refused, or not."""
    markets = Markets.make(contracts=contracts, templates=2)
    deploy_common(markets, SUBJECT, SUBJECT.contract.source)
    person = {
        "subject_id": "S1", "region": "370000",
        "identity_digest": "1a" * 32, "identity_reference": "store:1",
    }  # fmt: skip
    return call(markets, "subject", "register_person", REGISTRAR, **person | arguments).code


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(("contracts", "code"), [(3, ""), (4, REFUSED)])
def test_contracts_that_version_4_deployed_are_searched_further(contracts: int, code: str) -> None:
    assert registered(contracts, identity_reference="store:138.0013.8000") == code
    assert registered(contracts, identity_reference="store:13800138000") == REFUSED
    assert registered(contracts) == ""


@pytest.mark.req("G2-17-7")
def test_an_answer_is_searched_further_as_well() -> None:
    markets = Markets.make(contracts=4, templates=2)
    emitted = 'emit("subject.suspended", {"subject_id": subject_id, "state": "SUSPENDED"})\n'
    said = SUBJECT.contract.source.replace(
        emitted, f'{emitted}    return "138." + "0013." + "8000"\n'
    )
    assert said != SUBJECT.contract.source
    deploy_common(markets, SUBJECT, said)
    person = {
        "subject_id": "S1", "region": "370000",
        "identity_digest": "1a" * 32, "identity_reference": "store:1",
    }  # fmt: skip
    assert call(markets, "subject", "register_person", REGISTRAR, **person).accepted
    assert call(markets, "subject", "suspend", REGISTRAR, subject_id="S1").code == REFUSED


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(("packets", "code"), [(2, ""), (3, REFUSED)])
def test_g33_version_3_of_packets_finds_them_in_objects(packets: int, code: str) -> None:
    body: Json = {"subject": {"note": f"电话 {DISGUISED}"}}
    csrc, receipt = delivered([CLEAN, body], version=packets)
    assert receipt.accepted
    assert [each["code"] for each in acknowledgements(csrc, 2)] == ["", code]


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(("chains", "is_found"), [(1, False), (2, True)])
def test_version_2_of_chains_finds_them_in_steps(chains: int, is_found: bool) -> None:
    registry = Registry.make(version=chains)
    reason = {"chain_id": "shandong", "reason": f"电话 {DISGUISED}"}
    found = registry.act("give_back", BOTH_SIDES, **reason).code
    assert (found == REFUSED) is is_found
