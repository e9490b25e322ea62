"""An upgrade that breaks who relies on a contract rests on a notice of SM-3, proven."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.working_days import published
from services.consensus.domain.contracts.calendar import CalendarContract
from services.consensus.domain.contracts.deployment_notice import read_notice
from services.consensus.domain.contracts.deployment_template import STANDING_AGE_MS_MAX
from services.consensus.domain.contracts.deployments import DeploymentsContract
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.standing import DOCUMENTS, Kind
from services.consensus.domain.contracts.notices import NoticesContract
from services.consensus.domain.contracts.star.package import code_of_source
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.templates import TemplatesContract
from tests.unit.contracts.notice_market import GOOD, OLD, filing, moment
from tests.unit.proof.proof_keys import Replicas
from tests.unit.xchain.ledger_chain import LedgerChain, events
from tests.unit.xchain.test_deployments_by_template import (
    CHECKER,
    KEYS,
    MAKER,
    MARKET_SIDE,
    OPERATOR,
    REVIEWER,
    SOURCE,
    TECH_SIDE,
    TRANSFER,
    Markets,
    governor,
    others,
)

CSRC_SIDES: Final = (MARKET_SIDE, TECH_SIDE)
STEPS: Final = ("ack", "open_test", "pass_test", "schedule")
CHANGED: Final = SOURCE.replace("STEPS_MAX = 1000", "STEPS_MAX = 999")
SECOND: Final = f"standing/transfer/{2:020d}"
FIRST: Final[dict[str, Any]] = TRANSFER.to_json()
GROUPS: Final[Any] = [each | {"tier": "PUBLIC"} for each in FIRST["groups"]]
PUBLIC: Final[dict[str, Any]] = FIRST | {"version": 2, "groups": GROUPS}
"""The next version of the template, in which what was restricted is public: that breaks."""
TRANSFER_2: Final = read_template(PUBLIC).digest.hex()
DUE: Final = "2025-10-18T09:00"


def form(source: str) -> str:
    return code_of_source(source.encode()).module.digest.hex()


@dataclass
class Upgrading(Markets):
    """A market whose contract runs by a template that another version follows."""

    @staticmethod
    def begin() -> Upgrading:
        hashes = {name: Replicas(KEYS, name).set.hash() for name in ("shandong", "csrc")}
        csrc = LedgerChain(
            "csrc",
            KEYS,
            destination=None,
            remotes={"shandong": hashes["shandong"]},
            others=others("csrc"),
            contracts=[
                GovernanceContract(),
                DeploymentsContract(5),
                TemplatesContract(2),
                CalendarContract(1),
                NoticesContract(1),
            ],
        )
        shandong = LedgerChain(
            "shandong",
            KEYS,
            destination="csrc",
            remotes={"csrc": hashes["csrc"]},
            others=others("shandong"),
            contracts=[GovernanceContract(), DeploymentsContract(5)],
        )
        found = Upgrading(csrc, shandong, 5)
        found.at("2025-09-15T10:00")
        found.publish()
        found.deploy()
        found.publish(TRANSFER, version=2, groups=GROUPS)
        for year in (2025, 2026):
            value: Any = published().years[year].to_json()
            found.step("publish", CSRC_SIDES, contract="calendar", year=year, **value)
        found.step("adopt", CSRC_SIDES, operator=OPERATOR, interface=OLD)
        return found

    def at(self, now: str) -> None:
        for chain in (self.csrc, self.shandong):
            chain.execute(time_ms=moment(now))

    def step(self, method: str, who: Any, *, contract: str = "notices", **body: Any) -> None:
        named = {"chain": "shandong"} if contract == "notices" else {}
        sent = self.csrc.transaction(contract, method, named | body, signers=who)
        receipt = self.csrc.execute(sent).receipts[0]
        assert receipt.accepted, (method, receipt.code, receipt.detail)

    def file(self, listed: str, kind: Kind = Kind.INCOMPATIBLE, **changes: Any) -> None:
        documents = {name: "3c" * 32 for name in DOCUMENTS[kind]}
        documents["change_list"] = sm3(listed.encode()).hex()
        body = filing(kind, documents=documents, **changes)
        self.step("file", (MAKER, CHECKER), **body)

    def walk(self, *steps: str, number: int = 1, **changes: Any) -> None:
        for each in steps:
            who: Any = (MAKER, CHECKER)
            if each in ("ack", "waive"):
                who = CSRC_SIDES
            elif each.endswith("_test"):
                who = (TECH_SIDE,)
            self.step(each, who, number=number, **(GOOD[each] | changes))

    def notice(self, number: int = 1) -> dict[str, Any]:
        """What the latest block of the regulatory chain proves of a notice."""
        key = f"notices/notice/shandong/{number:020d}"
        block = self.csrc.blocks[self.csrc.header.height]
        return {
            "header": block.header.encode().hex(),
            "certificate": block.certificate.encode().hex(),
            "notice": self.csrc.value(key),
            "proof": self.csrc.prove(key).encode().hex(),
        }

    def upgrade(self, notice: Json, **changes: Any) -> Receipt:
        body = self.body(
            CHANGED,
            compatible=False,
            template=PUBLIC,
            standing=self.standing(SECOND),
            former_template=TRANSFER.to_json(),
            notice=notice,
        )
        return self.ask("upgrade", body | changes)

    def brought(self, listed: str) -> dict[str, Any]:
        return self.notice() | {"change_list": listed}


def change_list(**changes: Any) -> str:
    """What the notice was filed with: this upgrade beside another one, and words for people."""
    entry: dict[str, Any] = {
        "contract": "transfer",
        "from": form(SOURCE),
        "to": form(CHANGED),
        "template": TRANSFER_2,
    }
    listed: Json = {"contracts": [{"contract": "other"}, entry | changes], "note": "转让条件公开"}
    return canonical_json(listed).decode()


RECORD: Final[dict[str, Json]] = {
    "number": 1,
    "status": "SCHEDULED",
    "kind": "INCOMPATIBLE",
    "working_days": 20,
    "waiver": None,
    "planned": "2025-10-18",
    "earliest": "2025-10-15",
    "old_until": None,
    "documents": {"change_list": "3c" * 32},
}


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"number": True},
        {"status": "ASLEEP"},
        {"status": 1},
        {"kind": "OTHER"},
        {"working_days": "20"},
        {"working_days": None},
        {"waiver": 1},
        {"planned": "2025-02-30"},
        {"earliest": None},
        {"old_until": "soon"},
        {"documents": []},
        {"documents": {}},
        {"documents": {"change_list": 1}},
    ],
)
def test_a_record_of_a_release_that_this_one_does_not_know_is_refused_and_ends_no_replica(
    changes: dict[str, Json],
) -> None:
    assert read_notice(RECORD | {"more": 1}).permitted.isoformat() == "2025-10-18"
    with pytest.raises(Refusal, match="BODY_MALFORMED"):
        read_notice(RECORD | changes)


def told(receipt: Receipt) -> Any:
    return json.loads(receipt.detail)


@pytest.fixture
def market() -> Upgrading:
    return Upgrading.begin()


def scheduled(market: Upgrading, listed: str, now: str = DUE) -> Upgrading:
    market.file(listed)
    market.walk(*STEPS)
    market.at(now)
    return market


@pytest.mark.req("G2-14-3", "G2-14-4")
def test_what_breaks_is_upgraded_from_the_day_of_its_notice_on(market: Upgrading) -> None:
    listed = change_list()
    scheduled(market, listed, "2025-10-17T23:59")
    early = market.upgrade(market.brought(listed))
    assert (early.code, told(early)) == ("UPGRADE_CUTOVER_EARLY", {"permitted": "2025-10-18"})
    market.at(DUE)
    proposed = market.upgrade(market.brought(listed))
    assert proposed.accepted, proposed.detail
    (event,) = events(proposed, "contracts.proposed")
    assert event["notice"] == {"number": 1, "change_list": sm3(listed.encode()).hex()}
    assert event["compatible"] is False
    for number in (1, 2):
        standing, notice = market.standing(SECOND), market.notice()
        last = market.approve(proposed, number, standing, notice=notice)
        assert last.accepted, last.detail
    (upgraded,) = events(last, "contracts.upgraded")
    assert upgraded["version"] == 2


@pytest.mark.req("G2-14-3", "G2-14-4")
def test_without_a_notice_nothing_that_breaks_is_proposed(market: Upgrading) -> None:
    refused = market.upgrade(None)
    assert (refused.code, told(refused)) == (
        "UPGRADE_NOTICE_MISSING",
        {"contract": "transfer", "breaking": 2},
    )
    body = market.body(CHANGED, compatible=False, former_template=None, notice=None)
    same = body | {"template": PUBLIC, "standing": market.standing(SECOND)}
    assert market.ask("upgrade", same).code == "BODY_MALFORMED", "what runs has to be shown"


@pytest.mark.req("G2-14-4")
def test_what_breaks_nobody_needs_none_and_takes_none(market: Upgrading) -> None:
    again = TRANSFER.to_json() | {"version": 3}
    market.publish(TRANSFER, version=3)
    brought: dict[str, Any] = {
        "template": again,
        "standing": market.standing(f"standing/transfer/{3:020d}"),
        "compatible": True,
    }
    refused = market.upgrade({}, **brought)
    assert (refused.code, told(refused)["field"]) == ("BODY_MALFORMED", "notice")
    assert market.upgrade(None, **brought).accepted


@pytest.mark.req("G2-14-3", "G2-14-4")
@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_notice_that_is_not_scheduled_is_not_in_force(market: Upgrading, number: int) -> None:
    listed = change_list()
    market.file(listed)
    market.walk(*STEPS[:number])
    market.at(DUE)
    refused = market.upgrade(market.brought(listed))
    assert (refused.code, told(refused)["event"]) == ("ILLEGAL_TRANSITION", "upgrade")


@pytest.mark.req("G2-14-4")
def test_a_notice_that_is_called_off_stops_what_is_not_approved(market: Upgrading) -> None:
    listed = change_list()
    scheduled(market, listed)
    proposed = market.upgrade(market.brought(listed))
    standing, before = market.standing(SECOND), market.notice()
    market.walk("cancel")
    newer = {name: market.notice()[name] for name in ("header", "certificate")}
    forged = before | newer
    for notice, code in (
        (market.notice(), "ILLEGAL_TRANSITION"),
        (forged, "PROOF_INVALID"),
        (None, "BODY_MALFORMED"),
        (before | {"change_list": listed}, "BODY_MALFORMED"),
    ):
        assert market.approve(proposed, 1, standing, notice=notice).code == code
    paused = market.ask("pause", {"name": "transfer", "reason": "审计"}, governor("shandong", 3))
    assert market.approve(paused, 1, None, notice=before).code == "BODY_MALFORMED"


@pytest.mark.req("G2-14-4")
def test_an_approval_proves_the_notice_of_the_proposal_and_no_other(market: Upgrading) -> None:
    listed = change_list()
    scheduled(market, listed)
    proposed = market.upgrade(market.brought(listed))
    standing, first = market.standing(SECOND), market.notice()
    market.walk("cancel")
    market.file(listed, Kind.SECURITY_HOTFIX, interface=OLD, planned="2025-10-27")
    market.walk("ack", "waive", "open_test", "pass_test", number=2)
    market.walk("schedule", number=2, planned="2025-10-18", old_until=None)
    other = market.approve(proposed, 1, standing, notice=market.notice(2))
    assert (other.code, told(other)["number"]) == ("UPGRADE_NOTICE_OTHER", 2)
    assert market.approve(proposed, 1, standing, notice=first).accepted


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    "changes",
    [
        {"contract": "transfers"},
        {"from": "00" * 32},
        {"to": "00" * 32},
        {"template": "00" * 32},
        {"more": 1},
    ],
)
def test_a_notice_of_another_upgrade_is_none(market: Upgrading, changes: dict[str, Any]) -> None:
    listed = change_list(**changes)
    scheduled(market, listed)
    refused = market.upgrade(market.brought(listed))
    assert (refused.code, told(refused)["number"]) == ("UPGRADE_NOTICE_OTHER", 1)


@pytest.mark.req("G2-14-4")
def test_the_change_list_is_the_very_one_that_the_notice_holds(market: Upgrading) -> None:
    scheduled(market, change_list(to="00" * 32))
    refused = market.upgrade(market.brought(change_list()))
    assert (refused.code, told(refused)["why"]) == ("UPGRADE_NOTICE_OTHER", "another change list")


@pytest.mark.parametrize("listed", ["", "[]", "{", '{"contracts": 1}'])
def test_a_change_list_that_is_none_names_no_upgrade(market: Upgrading, listed: str) -> None:
    scheduled(market, listed)
    refused = market.upgrade(market.brought(listed))
    assert refused.code in ("UPGRADE_NOTICE_OTHER", "BODY_MALFORMED")


@pytest.mark.req("G2-14-4")
def test_a_notice_is_proven_and_not_told(market: Upgrading) -> None:
    listed = change_list()
    market.file(listed)
    market.at(DUE)
    brought = market.brought(listed)
    claimed = brought | {"notice": brought["notice"] | {"status": "SCHEDULED"}}
    assert market.upgrade(claimed).code == "PROOF_INVALID"
    values: tuple[Any, ...] = (1, [], {}, brought | {"more": 1}, brought | {"notice": None})
    for value in values:
        assert market.upgrade(value).code == "BODY_MALFORMED", value
    for number in (0, "1", None):
        other = brought | {"notice": brought["notice"] | {"number": number}}
        assert market.upgrade(other).code == "BODY_MALFORMED"
    block = market.csrc.blocks[market.csrc.header.height]
    few = market.csrc.replicas.certify(block.header, (0, 1))
    assert market.upgrade(brought | {"certificate": few.encode().hex()}).code == "HEADER_UNVERIFIED"


@pytest.mark.req("G2-14-4")
def test_a_proof_of_more_than_a_day_ago_shows_no_notice_in_force(market: Upgrading) -> None:
    listed = change_list()
    scheduled(market, listed)
    brought, standing = market.brought(listed), market.standing(SECOND)
    now = market.csrc.header.block_time_ms + STANDING_AGE_MS_MAX
    market.csrc.execute(time_ms=now)
    fresh = market.standing(SECOND)
    market.shandong.header = replace(market.shandong.header, block_time_ms=now)
    assert market.upgrade(brought, standing=fresh).code == "UPGRADE_NOTICE_OLD"
    assert market.upgrade(brought, standing=standing).code == "TEMPLATE_STANDING_OLD"


@pytest.mark.req("G2-14-3", "G2-14-6")
def test_after_the_last_day_of_the_old_format_the_cut_over_is_scheduled_anew(
    market: Upgrading,
) -> None:
    listed = change_list()
    scheduled(market, listed, "2025-11-01T00:00")
    refused = market.upgrade(market.brought(listed))
    assert (refused.code, told(refused)) == ("UPGRADE_WINDOW_OVER", {"until": "2025-10-31"})


@pytest.mark.req("G2-14-3", "G2-14-4", "G2-13-4")
@pytest.mark.parametrize(("is_waived", "code"), [(False, "UPGRADE_NOTICE_OTHER"), (True, "")])
def test_five_days_suffice_for_nothing_that_breaks_unless_they_were_waived(
    market: Upgrading, is_waived: bool, code: str
) -> None:
    """The link's interface does not change, so the hotfix waits for five days by itself."""
    listed = change_list()
    market.file(listed, Kind.SECURITY_HOTFIX, interface=OLD, planned="2025-10-18")
    market.walk("ack", "open_test", "pass_test")
    if is_waived:
        market.walk("waive")
    market.walk("schedule", old_until=None)
    market.at(DUE)
    assert market.upgrade(market.brought(listed)).code == code


@pytest.mark.req("G2-14-4")
def test_the_regulatory_chain_gives_itself_no_notice(market: Upgrading) -> None:
    def ask(method: str, body: Any, number: int = 0) -> Receipt:
        who = (governor("csrc", number), REVIEWER)
        return market.ask(method, body, *who, chain=market.csrc)

    market.publish(TRANSFER, version=3)
    third = TRANSFER.to_json() | {"version": 3}
    proposed = ask("deploy", market.body(template=third, standing=None))
    for number in (1, 2):
        named = {"name": "transfer", "proposal": proposed.transaction_id.hex()}
        ended = ask("approve", named | {"standing": None, "notice": None}, number)
        assert ended.accepted, ended.detail
    market.publish(TRANSFER, version=4, groups=GROUPS)
    body = market.body(
        CHANGED,
        compatible=False,
        template=PUBLIC | {"version": 4},
        standing=None,
        former_template=third,
        notice=None,
    )
    assert ask("upgrade", body | {"notice": {}}).code == "BODY_MALFORMED"
    assert ask("upgrade", body).accepted
