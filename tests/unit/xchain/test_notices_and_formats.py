"""Notices on the real ledger: what arrives from a market in a new format before its day, and in the
old one after its end, is refused, kept as an exception, and told to the source chain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.working_days import published
from services.consensus.domain.contracts.calendar import CalendarContract
from services.consensus.domain.contracts.host import Contract, Host, Method
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.notice.standing import Kind
from services.consensus.domain.contracts.notices import NoticesContract
from tests.unit.contracts.notice_market import BREAKING, GOOD, OLD, WHO, filing, moment
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    data_object,
    events,
    receive_body,
    sent_packets,
    update_body,
)

KEYS: Final = FakeKeys()
CSRC_ID: Final = "did:rem:csrc:91370000MA0000000X"
OWNER: Final = "did:rem:shandong:91370000MA0000000X"


def identity(organisation: str, name: str, *roles: str) -> IdentityRecord:
    did = f"{organisation}.{name}"
    key = KeyRecord(KEYS.public_key(did), 0, 1 << 52, False)
    return IdentityRecord(did, organisation, frozenset(roles), True, {"key-1": key})


ACCOUNTS: Final = {
    "csrc_market": identity(CSRC_ID, "market", "csrc_market"),
    "csrc_tech": identity(CSRC_ID, "tech", "csrc_tech"),
    "operator_maker": identity(OWNER, "maker", "operator_maker"),
    "operator_checker": identity(OWNER, "checker", "operator_checker"),
}


def send(host: Host, body: Mapping[str, Json]) -> None:
    """Send a data object of this transaction in a format."""
    value: Any = data_object(f"shandong:subject:{host.transaction_id()}")
    value["header"]["model"]["version"] = body["version"]
    host.send_packet("data_object", value)


@dataclass(frozen=True)
class FormatsContract:
    """A market's register, as far as the versions of its objects go."""

    name: str = "formats"
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        return {"send": send}


def told(receipt: Receipt) -> tuple[str, Any]:
    """A refusal: its code and facts."""
    return receipt.code, json.loads(receipt.detail)


@dataclass
class Link:
    """A market and the regulatory chain, which move through the days together."""

    csrc: LedgerChain
    shandong: LedgerChain

    @staticmethod
    def make(*contracts: Contract) -> Link:
        hashes = {name: Replicas(KEYS, name).set.hash() for name in ("shandong", "csrc")}
        csrc = LedgerChain(
            "csrc",
            KEYS,
            destination=None,
            remotes={"shandong": hashes["shandong"]},
            others=ACCOUNTS.values(),
            contracts=contracts,
        )
        shandong = LedgerChain(
            "shandong",
            KEYS,
            destination="csrc",
            remotes={"csrc": hashes["csrc"]},
            contracts=[FormatsContract()],
        )
        return Link(csrc, shandong)

    def at(self, now: str) -> Link:
        for chain in (self.csrc, self.shandong):
            chain.execute(time_ms=moment(now))
        return self

    def ask(self, method: str, contract: str = "notices", **body: Any) -> Receipt:
        """One transaction of whoever takes this step, in a block of its own."""
        who = WHO["adopt" if contract == "calendar" else method]
        signers = tuple(
            ACCOUNTS[role] for each in who if each is not None for role in sorted(each.roles)
        )
        named = body if contract == "calendar" else {"chain": "shandong", **body}
        transaction = self.csrc.transaction(contract, method, named, signers=signers)
        return self.csrc.execute(transaction).receipts[0]

    def must(self, method: str, contract: str = "notices", **body: Any) -> None:
        receipt = self.ask(method, contract, **body)
        assert receipt.accepted, (method, receipt.code, receipt.detail)

    def step(self, method: str, **changes: Any) -> None:
        self.must(method, number=1, **(GOOD.get(method, {}) | changes))

    def arrival(self, version: str) -> tuple[str, str]:
        """Send an object in a format, and relay it; returns the acknowledgement's code and the
        object's id.
        """
        sent = self.shandong.call("formats", "send", {"version": version})
        assert sent.accepted, (sent.code, sent.detail)
        assert self.csrc.call("light_client", "update", update_body(self.shandong)).accepted
        [packet] = sent_packets(sent)
        body = receive_body(self.shandong, [packet])
        received = self.csrc.call("packets", "receive", body)
        assert received.accepted, (received.code, received.detail)
        [event] = events(received, "packet.received")
        answer = event["acknowledgement"]
        assert isinstance(answer, dict)
        code = str(answer["code"])
        assert len(events(received, "object.refused")) == bool(code)
        key = f"objects/exception/shandong/data_object/{packet.sequence:020d}"
        assert (self.csrc.value(key) is not None) is bool(code)
        object_id = f"shandong:subject:{sent.transaction_id.hex()}"
        assert (self.csrc.value(f"objects/{object_id}/0") is None) is bool(code)
        return code, object_id


def noticed(kind: Kind = Kind.INCOMPATIBLE, *, version: int = 1) -> Link:
    """A chain on which the joint test of a notice was passed, and the cut-over is scheduled."""
    link = Link.make(CalendarContract(1), NoticesContract(version))
    for year in (2025, 2026):
        value: Any = published().years[year].to_json()
        link.must("publish", "calendar", year=year, **value)
    link.must("adopt", operator=OWNER, interface=OLD)
    link.at("2025-09-15T10:00")
    link.must("file", **filing(kind))
    for method in ("ack", "open_test", "pass_test", "schedule"):
        link.step(method)
    return link


@pytest.mark.req("G2-14-6")
def test_the_new_format_is_refused_before_its_cut_over_and_the_old_one_after_its_end() -> None:
    link = noticed()
    assert link.arrival("guqiao-1")[0] == ""
    assert link.arrival("guqiao-2")[0] == "FORMAT_NOT_PERMITTED"
    link.at("2025-10-17T23:59")
    early = link.ask("cutover", number=1)
    assert told(early) == ("UPGRADE_CUTOVER_EARLY", {"permitted": "2025-10-18"})
    assert link.arrival("guqiao-2")[0] == "FORMAT_NOT_PERMITTED"
    link.at("2025-10-18T00:00")
    link.step("cutover")
    assert link.arrival("guqiao-1")[0] == ""
    code, object_id = link.arrival("guqiao-2")
    assert code == ""
    link.step("verify", objects=[{"object_id": object_id, "version": 0}])
    link.step("close")
    link.at("2025-10-31T23:59")
    assert link.arrival("guqiao-1")[0] == ""
    link.at("2025-11-01T00:00")
    assert link.arrival("guqiao-1")[0] == "FORMAT_ENDED"
    assert link.arrival("guqiao-2")[0] == ""
    assert link.arrival("guqiao-3")[0] == "FORMAT_NOT_PERMITTED"
    assert link.arrival("版本 二/三")[0] == "FORMAT_NOT_PERMITTED"


@pytest.mark.req("G2-14-6")
def test_a_refused_format_says_what_is_in_force() -> None:
    link = noticed()
    link.arrival("guqiao-2")
    exception = link.csrc.value(f"objects/exception/shandong/data_object/{1:020d}")
    assert isinstance(exception, dict)
    detail = {"chain": "shandong", "version": "guqiao-2", "in_force": "guqiao-1"}
    assert (exception["code"], exception["detail"]) == ("FORMAT_NOT_PERMITTED", detail)


@pytest.mark.req("G2-14-6")
def test_after_a_roll_back_the_old_format_is_taken_again_without_an_end() -> None:
    link = noticed().at("2025-10-20T09:00")
    link.step("cutover")
    assert link.arrival("guqiao-2")[0] == ""
    link.step("roll_back")
    assert link.arrival("guqiao-2")[0] == "FORMAT_NOT_PERMITTED"
    link.at("2025-11-20T09:00")
    assert link.arrival("guqiao-1")[0] == ""


@pytest.mark.req("G2-14-2")
def test_a_migration_is_held_up_by_an_object_that_arrives_after_the_comparison() -> None:
    link = noticed(Kind.MIGRATION).at("2025-10-20T09:00")
    link.step("compare")
    assert link.arrival("guqiao-1")[0] == ""
    odd = link.ask("cutover", number=1)
    facts = {"figure": "received", "before": 0, "after": 1}
    assert told(odd) == ("UPGRADE_DATA_DIFFERS", facts)
    link.step("compare")
    link.step("cutover")


@pytest.mark.req("G2-14-2", "G2-14-6")
def test_a_migration_switches_formats_within_its_window_and_ends_the_old_one() -> None:
    """Of a chain that is not registered with `chains`: the window is the notice's alone."""
    link = noticed(Kind.MIGRATION, version=2).at("2025-10-17T23:59")
    early = link.ask("open_window", number=1, target=None)
    assert told(early) == ("UPGRADE_CUTOVER_EARLY", {"permitted": "2025-10-18"})
    link.at("2025-10-18T00:00")
    closed = {"chain": "shandong", "number": 1}
    for method in ("compare", "cutover"):
        refused = link.ask(method, number=1, **GOOD[method])
        assert told(refused) == ("UPGRADE_WINDOW_CLOSED", closed)
    other = link.ask("open_window", number=1, target="shandong-two")
    assert told(other)[0] == "BODY_MALFORMED"
    link.step("open_window")
    assert link.arrival("guqiao-1")[0] == ""
    assert link.arrival("guqiao-2")[0] == "FORMAT_NOT_PERMITTED"
    assert told(link.ask("cutover", number=1))[0] == "UPGRADE_DATA_UNCOMPARED"
    link.step("compare")
    link.step("cutover")
    assert link.csrc.value("notices/window/shandong") is None
    assert link.arrival("guqiao-2")[0] == ""
    link.at("2025-11-01T00:00")
    assert link.arrival("guqiao-1")[0] == "FORMAT_ENDED"


def test_a_chain_without_notices_takes_every_format_as_before() -> None:
    link = Link.make()
    for version in ("guqiao-1", "guqiao-2", "1"):
        assert link.arrival(version)[0] == ""


def test_a_market_for_which_nobody_adopted_an_interface_is_asked_for_no_format() -> None:
    link = Link.make(CalendarContract(1), NoticesContract())
    assert link.arrival("guqiao-2")[0] == ""
    refused = link.ask("file", **filing())
    assert told(refused) == ("UPGRADE_INTERFACE_UNKNOWN", {"chain": "shandong"})
    unknown = link.ask("adopt", chain="beijing", operator=OWNER, interface=OLD)
    assert told(unknown) == ("CLIENT_UNKNOWN", {"chain": "beijing"})


def test_the_state_proves_a_notice_and_the_interfaces_that_it_compares() -> None:
    link = noticed()
    head = link.csrc.value("notices/head/shandong")
    assert isinstance(head, dict)
    notice = link.csrc.value(f"notices/notice/shandong/{1:020d}")
    assert isinstance(notice, dict)
    assert (head["latest"], notice["status"], notice["old"]) == (1, "SCHEDULED", head["interface"])
    assert link.csrc.value(f"notices/interface/shandong/{head['interface']}") == OLD
    assert link.csrc.value(f"notices/interface/shandong/{notice['new']}") == BREAKING
