"""Contracts run by templates of the regulatory chain: what a deployment has to bring, and prove."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.deployed import NamedTemplate
from services.consensus.domain.contracts.deployment_template import (
    STANDING_AGE_MS_MAX,
    require_successor,
)
from services.consensus.domain.contracts.deployments import DeploymentsContract
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.star.package import code_of_source, package
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import Template
from services.consensus.domain.contracts.template.tiers import TierMap
from services.consensus.domain.contracts.templates import TemplatesContract
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.templates.orders import orders
from tests.unit.templates.template_market import template
from tests.unit.xchain.ledger_chain import LedgerChain, events, update_body
from tests.unit.xchain.release_evidence import evidence_for

KEYS: Final = FakeKeys()
TRANSFER: Final = template("transfer")
SOURCE: Final = TRANSFER.contract.source
STANDING: Final = f"standing/transfer/{1:020d}"


def identity(did: str, organisation: str, *roles: str) -> IdentityRecord:
    key = KeyRecord(KEYS.public_key(did), 0, 1 << 52, False)
    return IdentityRecord(did, organisation, frozenset(roles), True, {"key-1": key})


def governor(chain: str, number: int) -> IdentityRecord:
    organisation = f"did:rem:{chain}:entity-{number}"
    return identity(f"{organisation}.governor", organisation, "governor")


CSRC_ID: Final = "did:rem:csrc:91370000MA0000000X"
MARKET_SIDE: Final = identity(f"{CSRC_ID}.market", CSRC_ID, "csrc_market")
TECH_SIDE: Final = identity(f"{CSRC_ID}.tech", CSRC_ID, "csrc_tech")
OPERATOR: Final = "did:rem:shandong:entity-0"
MAKER: Final = identity(f"{OPERATOR}.maker", OPERATOR, "operator_maker")
CHECKER: Final = identity(f"{OPERATOR}.checker", OPERATOR, "operator_checker")
REVIEWER: Final = identity(f"{OPERATOR}.reviewer", OPERATOR, "contract_reviewer")
REGISTRAR: Final = identity(f"{OPERATOR}.registrar", OPERATOR, "registrar")
SECOND: Final = identity(f"{OPERATOR}.second", OPERATOR, "registration_checker")


def others(chain: str) -> list[IdentityRecord]:
    governors = [governor(chain, number) for number in range(4)]
    if chain == "csrc":
        return [MARKET_SIDE, TECH_SIDE, MAKER, CHECKER, REVIEWER, *governors]
    return [MAKER, CHECKER, REVIEWER, REGISTRAR, SECOND, *governors]


@dataclass
class Markets:
    """A regulatory chain with templates, and a market whose entities deploy contracts."""

    csrc: LedgerChain
    shandong: LedgerChain
    contracts: int

    @staticmethod
    def make(contracts: int = 2, templates: int = 1) -> Markets:
        """Of chains whose genesis names these versions."""
        remote = {"csrc": Replicas(KEYS, "csrc").set.hash()}
        csrc = LedgerChain(
            "csrc",
            KEYS,
            destination=None,
            remotes={},
            others=others("csrc"),
            contracts=[
                GovernanceContract(),
                DeploymentsContract(contracts),
                TemplatesContract(templates),
            ],
        )
        shandong = LedgerChain(
            "shandong",
            KEYS,
            destination="csrc",
            remotes=remote,
            others=others("shandong"),
            contracts=[GovernanceContract(), DeploymentsContract(contracts)],
        )
        return Markets(csrc, shandong, contracts)

    def templates(self, method: str, who: tuple[IdentityRecord, ...], body: Any) -> None:
        """A step of a template on the regulatory chain, which has to be taken."""
        receipt = self.csrc.execute(
            self.csrc.transaction("templates", method, body, signers=who)
        ).receipts[0]
        assert receipt.accepted, (receipt.code, receipt.detail)

    def publish(self, published: Template = TRANSFER, **changes: Any) -> None:
        body = {"template": published.to_json() | changes}
        self.templates("publish", (MARKET_SIDE, TECH_SIDE), body)

    def standing(self, key: str = STANDING) -> dict[str, Any]:
        """What the latest block of the regulatory chain proves."""
        block = self.csrc.blocks[self.csrc.header.height]
        return {
            "header": block.header.encode().hex(),
            "certificate": block.certificate.encode().hex(),
            "standing": self.csrc.value(f"templates/{key}"),
            "proof": self.csrc.prove(f"templates/{key}").encode().hex(),
        }

    def body(self, source: str = SOURCE, **changes: Any) -> dict[str, Any]:
        """What a deployment of a source brings, its tests passed."""
        code = package(source.encode())
        tests = {"report": "1a" * 32, "form": _digest(source), "passed": 3, "failed": 0}
        return {
            "name": "transfer",
            **code,
            "template": TRANSFER.to_json(),
            "standing": self.standing(),
            "tests": tests | evidence_for(self.contracts),
            "risk_review": "2b" * 32,
        } | changes

    def ask(
        self, method: str, body: Any, *signers: IdentityRecord, chain: LedgerChain | None = None
    ) -> Receipt:
        """One transaction on the market's contract `contracts`, in a block of its own."""
        at = chain or self.shandong
        who = signers or (governor(at.header.chain_id, 0), REVIEWER)
        return at.execute(at.transaction("contracts", method, body, signers=who)).receipts[0]

    def approve(
        self,
        proposal: Receipt,
        number: int,
        standing: Json,
        *,
        name: str = "transfer",
        notice: Json = None,
    ) -> Receipt:
        body: dict[str, Json] = {
            "name": name,
            "proposal": proposal.transaction_id.hex(),
            "standing": standing,
        }
        body |= {"notice": notice} if self.contracts >= 5 else {}
        return self.ask("approve", body, governor("shandong", number))

    def deploy(self, method: str = "deploy", **changes: Any) -> Receipt:
        """Propose and let two more entities approve, with what stands then."""
        body = self.body(**changes)
        proposed = self.ask(method, body)
        assert proposed.accepted, (proposed.code, proposed.detail)
        named = body["template"]
        key = f"standing/{named['id']}/{named['version']:020d}"
        for number in (1, 2):
            last = self.approve(proposed, number, self.standing(key), name=body["name"])
            assert last.accepted, (last.code, last.detail)
        return last


def _digest(source: str) -> str:
    return code_of_source(source.encode()).module.digest.hex()


@pytest.fixture
def markets() -> Markets:
    """The transfer of the common set is published."""
    found = Markets.make()
    found.publish()
    return found


@pytest.mark.req("G2-08-4", "G2-08-6", "G2-16-5", "G2-16-6")
def test_a_contract_runs_by_a_published_template_that_the_regulatory_chain_proves(
    markets: Markets,
) -> None:
    last = markets.deploy()
    (event,) = events(last, "contracts.deployed")
    named = {
        "id": "transfer",
        "version": 1,
        "class": "COMMON",
        "digest": TRANSFER.digest.hex(),
        "filing_number": None,
    }
    assert event["template"] == named
    assert (event["reviewer"], event["risk_review"]) == (REVIEWER.did, "2b" * 32)
    assert event["tests"] == {
        "report": "1a" * 32, "form": _digest(SOURCE), "passed": 3, "failed": 0,
    }  # fmt: skip
    record = markets.shandong.value("contracts/contract/transfer")
    assert isinstance(record, dict)
    assert (record["status"], record["template"]) == ("active", named)
    assert record["tiers"] == TierMap.of(TRANSFER).to_json()


def own_template(**changes: Any) -> dict[str, Any]:
    """The same as an operator's own."""
    value: dict[str, Any] = TRANSFER.to_json()
    return value | {"id": "own_transfer", "class": "SELF"} | changes


OWN: Final = f"standing/own_transfer/{1:020d}"
NAMED: Final = {"id": "own_transfer", "version": 1}


def walk(markets: Markets, *steps: str) -> None:
    """Take an operator's own template through these steps."""
    bodies: dict[str, Any] = {
        "define": {"template": own_template(), "tests": "1a" * 32, "risk_review": "2b" * 32},
        "accept": NAMED | {"filing_number": "BA-2026-0001"},
        "give_back": NAMED | {"reason": "补充"},
        "withdraw": NAMED | {"reason": "停用"},
    }
    for step in steps:
        is_csrc = step in ("accept", "give_back")
        who = (MARKET_SIDE, TECH_SIDE) if is_csrc else (MAKER, CHECKER)
        markets.templates(step, who, bodies.get(step, NAMED))


@pytest.mark.req("G2-08-7")
def test_an_operators_own_template_runs_under_its_filing_number_and_not_before(
    markets: Markets,
) -> None:
    before = {
        "NONE": (),
        "DEFINED": ("define",),
        "FILED": ("file",),
        "FILING_RETURNED": ("give_back",),
    }
    for state, steps in before.items():
        walk(markets, *steps)
        brought: dict[str, Any] = {"template": own_template(), "standing": markets.standing(OWN)}
        refused = markets.ask("deploy", markets.body(**brought))
        assert refused.code == "TEMPLATE_NOT_FILED", refused.detail
        assert f'"state":"{state}"'.encode() in refused.detail
        own_chain = markets.ask(
            "deploy",
            markets.body(template=own_template(), standing=None),
            governor("csrc", 0),
            REVIEWER,
            chain=markets.csrc,
        )
        assert own_chain.code == "TEMPLATE_NOT_FILED"
    walk(markets, "define", "file", "accept")
    brought = {"template": own_template(), "standing": markets.standing(OWN)}
    proposed = markets.ask("deploy", markets.body(**brought))
    (event,) = events(proposed, "contracts.proposed")
    named = event["template"]
    assert isinstance(named, dict)
    assert (named["class"], named["filing_number"]) == ("SELF", "BA-2026-0001")
    walk(markets, "withdraw")
    late = markets.approve(proposed, 1, markets.standing(OWN))
    assert late.code == "TEMPLATE_NOT_FILED"
    assert markets.shandong.value("contracts/contract/transfer") is None


@pytest.mark.req("G2-08-6")
def test_a_template_that_was_superseded_or_retired_deploys_nothing(markets: Markets) -> None:
    proposed = markets.ask("deploy", markets.body())
    old = markets.standing()
    markets.publish(version=2)
    assert b"SUPERSEDED" in markets.ask("deploy", markets.body()).detail
    assert markets.approve(proposed, 1, markets.standing()).code == "TEMPLATE_NOT_FILED"
    # What was in force within a day may be shown still: a chain cannot know of the last minute.
    assert markets.approve(proposed, 1, old).accepted
    body = {"id": "transfer", "version": 1, "reason": "停用"}
    markets.templates("retire", (MARKET_SIDE, TECH_SIDE), body)
    assert b"RETIRED" in markets.ask("deploy", markets.body()).detail


@pytest.mark.req("G2-08-6")
def test_g20_a_standing_that_may_have_ended_is_believed_for_a_day(markets: Markets) -> None:
    proposed, standing = markets.ask("deploy", markets.body()), markets.standing()
    now = markets.csrc.header.block_time_ms
    body = {"id": "transfer", "version": 1, "reason": "停用"}
    markets.templates("retire", (MARKET_SIDE, TECH_SIDE), body)
    newer = {name: markets.standing()[name] for name in ("header", "certificate")}
    assert markets.approve(proposed, 1, standing | newer).code == "PROOF_INVALID"
    assert markets.approve(proposed, 1, markets.standing()).code == "TEMPLATE_NOT_FILED"
    for behind, code in ((STANDING_AGE_MS_MAX, ""), (STANDING_AGE_MS_MAX + 1, "OLD")):
        time_ms = now + behind - 1_000  # The next block is a second later.
        markets.shandong.header = replace(markets.shandong.header, block_time_ms=time_ms)
        receipt = markets.approve(proposed, 1, standing)
        assert receipt.code == (f"TEMPLATE_STANDING_{code}" if code else "")


@pytest.mark.req("G2-08-7")
def test_a_standing_that_is_told_and_not_proven_deploys_nothing(markets: Markets) -> None:
    walk(markets, "define")
    told = markets.standing(OWN)
    assert isinstance(told["standing"], dict)
    accepted = told["standing"] | {"status": "FILING_ACCEPTED", "filing_number": "BA-1"}
    brought: dict[str, Any] = {
        "template": own_template(),
        "standing": told | {"standing": accepted},
    }
    assert markets.ask("deploy", markets.body(**brought)).code == "PROOF_INVALID"
    brought["standing"] = markets.standing() | {"proof": told["proof"]}
    assert markets.ask("deploy", markets.body(**brought)).code == "PROOF_INVALID"
    block = markets.csrc.blocks[markets.csrc.header.height]
    few = markets.csrc.replicas.certify(block.header, (0, 1))
    elsewhere = Replicas(KEYS, "beijing")
    for change in (
        {"certificate": few.encode().hex()},
        {"certificate": elsewhere.certify(block.header).encode().hex()},
        {"header": replace(block.header, block_time_ms=1 << 50).encode().hex()},
        {"header": replace(block.header, chain_id="shandong").encode().hex()},
    ):
        receipt = markets.ask("deploy", markets.body(standing=markets.standing() | change))
        assert receipt.code == "HEADER_UNVERIFIED", change
    values: list[Any] = [None, 1, [], {}, markets.standing() | {"more": 1}, {"standing": None}]
    for value in values:
        assert markets.ask("deploy", markets.body(standing=value)).code == "BODY_MALFORMED"
    for member in ("header", "certificate", "proof"):
        broken = markets.standing() | {member: "00"}
        code = markets.ask("deploy", markets.body(standing=broken)).code
        assert code in ("BODY_MALFORMED", "PROOF_INVALID"), member


def test_a_header_that_contradicts_what_is_known_or_of_an_epoch_that_ended_proves_nothing(
    markets: Markets,
) -> None:
    old = markets.standing()
    assert markets.shandong.call("light_client", "update", update_body(markets.csrc)).accepted
    block = markets.csrc.blocks[markets.csrc.header.height]
    other = replace(block.header, block_time_ms=block.header.block_time_ms + 1)
    twisted = {
        "header": other.encode().hex(),
        "certificate": markets.csrc.replicas.certify(other).encode().hex(),
    }
    assert markets.ask("deploy", markets.body(standing=old | twisted)).code == "HEADER_UNVERIFIED"
    assert markets.ask("deploy", markets.body(standing=old)).accepted
    markets.csrc.execute(next_replicas=Replicas(KEYS, "csrc", epoch=1))
    changes = tuple(markets.csrc.set_changes)
    markets.csrc.execute()
    body = update_body(markets.csrc, set_changes=changes)
    assert markets.shandong.call("light_client", "update", body).accepted
    assert markets.ask("deploy", markets.body(standing=old)).code == "HEADER_UNVERIFIED"
    assert markets.ask("deploy", markets.body()).accepted


def test_a_frozen_client_proves_nothing(markets: Markets) -> None:
    assert markets.shandong.call("light_client", "update", update_body(markets.csrc)).accepted
    block = markets.csrc.blocks[markets.csrc.header.height]
    other = replace(block.header, state_root=bytes(31) + b"\x01")
    twisted = {
        "header": other.encode().hex(),
        "certificate": markets.csrc.replicas.certify(other).encode().hex(),
    }
    body = update_body(markets.csrc) | twisted
    assert markets.shandong.call("light_client", "update", body).accepted
    assert markets.ask("deploy", markets.body()).code == "CLIENT_FROZEN"


@pytest.mark.req("G2-08-4")
def test_a_contract_that_does_not_keep_to_its_template_is_refused_with_the_line(
    markets: Markets,
) -> None:
    gone = SOURCE.replace("transfer.completed", "transfer.finished")
    assert gone != SOURCE
    refused = markets.ask("deploy", markets.body(gone))
    assert refused.code == "TEMPLATE_NONCONFORMING"
    assert b'"line":' in refused.detail
    other = markets.body(template=own_template(id="transfer"), standing=markets.standing())
    told = markets.ask("deploy", other)
    assert (told.code, b'"is_same":false' in told.detail) == ("TEMPLATE_NOT_FILED", True)
    malformed = markets.body(template=TRANSFER.to_json() | {"key": "nothing"})
    assert markets.ask("deploy", malformed).code == "TEMPLATE_MALFORMED"


@pytest.mark.req("G2-16-5")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"form": "00" * 32}, "CONTRACT_UNTESTED"),
        ({"failed": 1}, "CONTRACT_UNTESTED"),
        ({"failed": False}, "CONTRACT_UNTESTED"),
        ({"passed": 0}, "BODY_MALFORMED"),
        ({"passed": True}, "BODY_MALFORMED"),
        ({"report": "1a"}, "BODY_MALFORMED"),
        ({"more": 1}, "BODY_MALFORMED"),
    ],
)
def test_nothing_is_deployed_untested(markets: Markets, change: Any, code: str) -> None:
    body = markets.body()
    tests = body["tests"]
    assert isinstance(tests, dict)
    assert markets.ask("deploy", body | {"tests": tests | change}).code == code
    for member in ("tests", "risk_review", "template", "standing"):
        without = {name: value for name, value in body.items() if name != member}
        assert markets.ask("deploy", without).code == "BODY_MALFORMED"
    assert markets.ask("deploy", body | {"risk_review": "2b"}).code == "BODY_MALFORMED"


@pytest.mark.req("G2-16-6")
def test_nobody_reviews_his_own_contract(markets: Markets) -> None:
    author = governor("shandong", 0)
    for signers, code in (
        ((author,), "CHECKER_MISSING"),
        ((author, author), "CHECKER_IS_MAKER"),
        ((author, CHECKER), "ROLE_MISSING"),
        ((author, governor("shandong", 1)), "ROLE_MISSING"),
        ((CHECKER, REVIEWER), "ROLE_MISSING"),
    ):
        receipt = markets.ask("deploy", markets.body(), *signers)
        assert receipt.code == code, signers


@pytest.mark.req("G2-08-4")
def test_an_upgrade_keeps_to_the_template_or_a_later_version_of_it(markets: Markets) -> None:
    markets.deploy()
    changed = SOURCE.replace("1000000000000", "2000000000000")
    assert changed != SOURCE
    upgrade: dict[str, Any] = {"source": changed, "compatible": True}
    walk(markets, "define", "file", "accept")
    own: dict[str, Any] = {"template": own_template(), "standing": markets.standing(OWN)}
    body = markets.body(changed, compatible=True, **own)
    assert markets.ask("upgrade", body).code == "CONTRACT_TEMPLATE_OTHER"
    last = markets.deploy("upgrade", **upgrade)
    (event,) = events(last, "contracts.upgraded")
    assert (event["version"], event["compatible"]) == (2, True)
    second = TRANSFER.to_json() | {"version": 2}
    markets.publish(version=2)
    proof = markets.standing(f"standing/transfer/{2:020d}")
    later = markets.ask("upgrade", markets.body(template=second, standing=proof, compatible=True))
    assert later.accepted


def test_an_earlier_version_of_the_template_takes_no_contract_back() -> None:
    named = NamedTemplate("transfer", 2, "COMMON", "00" * 32, None)
    with pytest.raises(Refusal, match="CONTRACT_TEMPLATE_OTHER"):
        require_successor(named, replace(named, version=1))
    for before, version in ((named, 2), (named, 3), (None, 1)):
        require_successor(before, replace(named, version=version))


def test_what_has_no_template_is_approved_without_a_standing(markets: Markets) -> None:
    markets.deploy()
    paused = {"name": "transfer", "reason": "审计"}
    proposed = markets.ask("pause", paused, governor("shandong", 0))
    assert markets.approve(proposed, 1, markets.standing()).code == "BODY_MALFORMED"
    assert markets.approve(proposed, 1, None).accepted
    record = markets.shandong.value("contracts/contract/transfer")
    assert isinstance(record, dict)
    assert (record["status"], record["template"] is None) == ("paused", False)


@pytest.mark.req("G2-08-6")
def test_the_regulatory_chain_reads_its_own_templates(markets: Markets) -> None:
    who = (governor("csrc", 0), REVIEWER)
    told = markets.ask("deploy", markets.body(), *who, chain=markets.csrc)
    assert told.code == "BODY_MALFORMED"
    own = markets.ask("deploy", markets.body(standing=None), *who, chain=markets.csrc)
    assert own.accepted, own.detail


# --- Format 2 -------------------------------------------------------------------------------------


def deployment_of_orders(markets: Markets) -> dict[str, Any]:
    """What a deployment by a published template of format 2 brings."""
    value = orders() | {"class": "COMMON"}
    markets.templates("publish", (MARKET_SIDE, TECH_SIDE), {"template": value})
    source = value["contract"]["source"]
    standing = markets.standing("standing/orders/00000000000000000001")
    return markets.body(source, name="orders", template=value, standing=standing)


@pytest.mark.req("G2-08-4", "G2-17-5")
def test_a_chain_of_version_3_runs_contracts_by_templates_of_format_2_with_their_shapes() -> None:
    markets = Markets.make(contracts=3, templates=2)
    proposed = markets.ask("deploy", deployment_of_orders(markets))
    assert proposed.accepted, (proposed.code, proposed.detail)
    (event,) = events(proposed, "contracts.proposed")
    found = TierMap.of(read_template(orders() | {"class": "COMMON"}))
    assert found.shapes is not None
    assert event["tiers"] == found.to_json()


@pytest.mark.req("G2-08-4")
def test_a_chain_of_version_2_refuses_format_2_as_it_always_did() -> None:
    markets = Markets.make(contracts=2, templates=2)
    refused = markets.ask("deploy", deployment_of_orders(markets))
    assert refused.code == "TEMPLATE_MALFORMED"
    assert json.loads(refused.detail) == {"rule": "unknown", "place": "arguments"}
    markets.publish()
    assert markets.ask("deploy", markets.body()).accepted, "format 1 goes on"
