"""Unusual volume opens a breaker (reliability G40), and a link can be paused (G38)."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, Packet
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.packet_link import breaker
from services.consensus.domain.contracts.packet_link.breaker import Limits
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import LedgerChain, events
from tests.unit.xchain.link_ports import (
    UNORDERED,
    acknowledge_body,
    count,
    counting_ports,
    deliver,
    send,
    tell,
    time_out_body,
)

pytestmark = pytest.mark.usefixtures(counting_ports.__name__)

PORT = "notice"


def person(keys: FakeKeys, chain: str, organisation: str, name: str, role: str) -> IdentityRecord:
    did = f"did:rem:{chain}:{organisation}.{name}"
    key = KeyRecord(keys.public_key(did), 0, 1 << 52, False)
    owner = f"did:rem:{chain}:{organisation}"
    return IdentityRecord(did, owner, frozenset({role}), True, {"key-1": key})


class People:
    """A linked pair in which both sides of the CSRC and two persons of an operator act."""

    def __init__(self) -> None:
        keys = FakeKeys()
        hashes = {name: Replicas(keys, name).set.hash() for name in ("shandong", "csrc")}
        people = {
            chain: {
                role: person(keys, chain, organisation, role, role)
                for organisation, roles in (
                    ("CSRC", ("csrc_market", "csrc_tech")),
                    ("OPERATOR", ("operator_maker", "operator_checker")),
                )
                for role in roles
            }
            for chain in hashes
        }
        self.people = people
        self.market, self.csrc = (
            LedgerChain(
                chain,
                keys,
                destination=destination,
                remotes={remote: hashes[remote]},
                others=people[chain].values(),
                packets_version=3,
            )
            for chain, destination, remote in (
                ("shandong", "csrc", "csrc"),
                ("csrc", None, "shandong"),
            )
        )

    def act(self, chain: LedgerChain, method: str, body: dict[str, Json], *signers: str) -> Receipt:
        """Call a method of `packets` with the signatures of these roles' holders."""
        known = self.people[chain.header.chain_id]
        signed = tuple(known[role] for role in signers)
        return chain.execute(chain.transaction("packets", method, body, signers=signed)).receipts[0]

    def supervise(self, method: str, body: dict[str, Json]) -> Receipt:
        """The same on the regulatory chain, by both sides of the CSRC."""
        return self.act(self.csrc, method, body, "csrc_market", "csrc_tech")

    def limit(self, limits: Limits) -> None:
        body: dict[str, Json] = {"source": "shandong", "port": PORT, **limits.to_json()}
        receipt = self.supervise("set_limits", body)
        assert [event.topic for event in receipt.events] == ["packet.limits_set"]

    def sent(self, number: int) -> list[Packet]:
        packets = send(self.market, self.csrc, *[Deadline()] * number, packet_class=UNORDERED)
        tell(self.csrc, self.market)
        return packets

    def delivered(self, packets: list[Packet]) -> Receipt:
        return deliver(self.market, self.csrc, packets)


CLOSE: dict[str, Json] = {"source": "shandong", "port": PORT, "reason": "年度集中报送，已核实"}
PAUSE: dict[str, Json] = {"chain": "shandong", "reason": "核查中"}


@pytest.mark.req("G2-16-4", "N0-07")
def test_g40_more_packets_than_a_window_may_have_open_the_breaker_and_nothing_is_lost() -> None:
    link = People()
    link.limit(Limits(packets_max=3, bytes_max=1 << 30, window_ms=3_600_000))
    sent = link.sent(6)
    assert events(link.delivered(sent[:3]), "packet.breaker_opened") == []
    receipt = link.delivered(sent[3:5])
    assert receipt.accepted, "the transaction that passes the limit is the last one"
    (event,) = events(receipt, "packet.breaker_opened")
    assert (event["source"], event["port"], event["packets"]) == ("shandong", PORT, 5)
    assert link.delivered(sent[5:]).code == "BREAKER_OPEN"
    assert link.delivered(sent[:5]).accepted, "what was taken still has its receipt"
    assert count(link.csrc, "effect", sent[5]) == 0

    closed = link.supervise("close_breaker", CLOSE)
    (event,) = events(closed, "packet.breaker_closed")
    assert event["reason"] == CLOSE["reason"]
    assert link.delivered(sent[5:]).accepted
    assert [count(link.csrc, "effect", packet) for packet in sent] == [1] * 6


def test_g40_more_bytes_than_a_window_may_have_open_the_breaker() -> None:
    link = People()
    payload_bytes = len('"甲"'.encode())
    link.limit(Limits(packets_max=1_000, bytes_max=2 * payload_bytes, window_ms=3_600_000))
    sent = link.sent(4)
    assert events(link.delivered(sent[:2]), "packet.breaker_opened") == []
    (event,) = events(link.delivered(sent[2:3]), "packet.breaker_opened")
    assert event["bytes"] == 3 * payload_bytes
    assert link.delivered(sent[3:]).code == "BREAKER_OPEN"


def test_g40_a_new_window_counts_from_nothing_and_repeated_packets_are_not_counted() -> None:
    link = People()
    link.limit(Limits(packets_max=2, bytes_max=1 << 30, window_ms=60_000))
    sent = link.sent(5)
    for _ in range(3):
        assert link.delivered(sent[:2]).accepted
    link.csrc.execute(time_ms=link.csrc.header.block_time_ms + 60_000)
    assert events(link.delivered(sent[2:4]), "packet.breaker_opened") == []
    assert len(events(link.delivered(sent[4:]), "packet.breaker_opened")) == 1


def test_g40_other_sources_and_ports_are_not_affected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "LIMITS", Limits(1, 1 << 30, 3_600_000))
    link = People()
    link.limit(Limits(packets_max=9, bytes_max=1 << 30, window_ms=3_600_000))
    sent = link.sent(3)
    assert events(link.delivered(sent), "packet.breaker_opened") == []
    state = link.csrc.value(f"packets/breaker/shandong/{PORT}")
    assert isinstance(state, dict)
    assert (state["status"], state["packets"]) == ("CLOSED", 3)


def test_g40_without_limits_of_its_own_a_port_has_those_of_the_software() -> None:
    assert breaker.LIMITS.packets_max * 1_000 // breaker.LIMITS.window_ms > 100, (
        "the backlog of an outage passes at more than a hundred packets a second"
    )


STEPS = {
    "close_breaker": CLOSE,
    "pause": PAUSE,
    "resume": PAUSE,
    "set_limits": {"source": "shandong", "port": PORT, **breaker.LIMITS.to_json()},
}


@pytest.mark.parametrize("method", STEPS)
def test_breaker_and_pause_are_for_both_sides_of_the_csrc_alone(method: str) -> None:
    link = People()
    body: dict[str, Json] = dict(STEPS[method])
    assert link.act(link.csrc, method, body, "csrc_market").code == "CHECKER_MISSING"
    for signers in (("operator_maker", "operator_checker"), ("csrc_tech", "csrc_market")):
        assert link.act(link.csrc, method, body, *signers).code == "ROLE_MISSING"
    assert link.csrc.call("packets", method, body).code == "ROLE_MISSING", "nor for relayers"


def test_on_a_markets_chain_its_operator_answers_for_the_link() -> None:
    link = People()
    body: dict[str, Json] = {"chain": "csrc", "reason": "迁移机房"}
    csrc = link.act(link.market, "pause", body, "csrc_market", "csrc_tech")
    assert csrc.code == "ROLE_MISSING"
    paused = link.act(link.market, "pause", body, "operator_maker", "operator_checker")
    assert [event.topic for event in paused.events] == ["packet.link_paused"]


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("close_breaker", {"reason": ""}),
        ("close_breaker", {"until": 1}),
        ("set_limits", {"packets_max": 0}),
        ("set_limits", {"window_ms": "1h"}),
        ("pause", {"chain": 1}),
        ("pause", {"reason": "长" * 501}),
    ],
)
def test_steps_with_a_body_of_another_form_are_refused(
    method: str, change: dict[str, Json]
) -> None:
    body: dict[str, Json] = {**STEPS[method], **change}
    assert People().supervise(method, body).code == "BODY_MALFORMED"


def test_a_breaker_that_is_closed_cannot_be_closed_nor_a_running_link_resumed() -> None:
    link = People()
    assert link.supervise("close_breaker", CLOSE).code == "ILLEGAL_TRANSITION"
    assert link.supervise("resume", PAUSE).code == "ILLEGAL_TRANSITION"
    assert link.supervise("pause", PAUSE).accepted
    assert link.supervise("pause", PAUSE).code == "ILLEGAL_TRANSITION"


@pytest.mark.req("G2-16-4")
def test_g38_a_paused_link_accepts_nothing_and_loses_nothing() -> None:
    """Both ways: what comes from the chain, and what is proven of it."""
    link = People()
    incoming = link.sent(2)
    late, taken = send(link.csrc, link.market, Deadline(height=4), Deadline(height=4))
    tell(link.market, link.csrc)
    assert deliver(link.csrc, link.market, [taken]).accepted
    while link.market.header.height < 4:
        link.market.execute()
    height = tell(link.csrc, link.market)
    home = acknowledge_body(link.market, [taken], height)
    gone = time_out_body(link.csrc, link.market, [late], height)

    assert link.supervise("pause", PAUSE).accepted
    before = dict(link.csrc.state.values)
    assert link.delivered(incoming).code == "LINK_PAUSED"
    assert link.csrc.call("packets", "acknowledge", home).code == "LINK_PAUSED"
    assert link.csrc.call("packets", "time_out", gone).code == "LINK_PAUSED"
    changed = {key for key in link.csrc.state.values if before.get(key) is None}
    assert all(key.startswith(b"ledger/") for key in changed), "only which requests were answered"

    resumed = link.supervise("resume", PAUSE)
    assert [event.topic for event in resumed.events] == ["packet.link_resumed"]
    assert link.delivered(incoming).accepted
    assert link.csrc.call("packets", "acknowledge", home).accepted
    assert link.csrc.call("packets", "time_out", gone).accepted
    assert [count(link.csrc, "effect", packet) for packet in incoming] == [1, 1]
    assert count(link.csrc, "heard/acknowledged", taken) == 1
    assert count(link.csrc, "heard/timed_out", late) == 1
