"""Freezes, pledges and dividends as the receipts tell of them: enough to know the whole state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from tests.unit.contracts.changed_rules import change_rules, constant
from tests.unit.contracts.market_generator import BASIC, LATER, Generator, write_dataset
from tests.unit.contracts.memory_host import Outcome
from tests.unit.contracts.register_events import (
    Name,
    Record,
    announced,
    dividends_csv,
    encumbrances_csv,
    recorded,
    replayed,
)
from tests.unit.contracts.register_market import (
    DATA,
    Market,
    RequestIdentity,
    dataset,
    entry,
    loaded_host,
    sale,
)
from tests.unit.contracts.test_register_encumbrances import (
    HOLDER,
    OTHER,
    Body,
    deducting,
    freezing,
    issuing,
    pledging,
    releasing,
    unfreezing,
)

TOPIC = "register.encumbrances_changed"
EVENTS = 180


@dataclass
class Watched:
    """A market whose every call must announce what it changed of the encumbrances, and no more."""

    market: Market = field(default_factory=lambda: opened(entry(HOLDER, 700), entry(OTHER, 300)))
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, method: str, body: Body) -> Outcome:
        """Execute a call, accepted or refused."""
        before = recorded(self.market.host)
        outcome = self.market.run(method, body)
        after = recorded(self.market.host)
        found = announced(outcome.events)
        assert dict(found) == {name: row for name, row in after.items() if row != before.get(name)}
        assert len(dict(found)) == len(found), "a changed record is announced once"
        self.outcomes.append(outcome)
        assert replayed(self.outcomes) == after
        return outcome


def opened(*roster: Body) -> Market:
    market = Market(contract=REGISTER_V3)
    for number in (1, 2):
        market.account(number)
    market.register(*roster)
    return market


def processed(market: MarketDataset) -> tuple[dict[Name, Record], list[Outcome]]:
    """Process a dataset; return what the state says at the end, and the outcomes."""
    host, identity = loaded_host(market, REGISTER_V3), RequestIdentity()
    for event in market.events:
        identity.process(host, REGISTER_V3, event)
    return recorded(host), identity.outcomes


STEPS = st.tuples(
    st.sampled_from(["pledge", "release", "freeze", "unfreeze", "deduct", "gift", "back", "issue"]),
    st.integers(min_value=0, max_value=5),
    st.integers(min_value=1, max_value=500),
)


@pytest.mark.req("N0-17", "N0-19")
@given(st.lists(STEPS, max_size=25))
@settings(max_examples=80)
def test_the_events_of_any_row_of_operations_give_the_encumbrances_of_the_state(
    steps: list[tuple[str, int, int]],
) -> None:
    watched, total = Watched(), 1_000
    for index, (kind, number, shares) in enumerate(steps):
        calls: dict[str, tuple[str, Body]] = {
            "pledge": pledging(shares, f"P{index}"),
            "release": releasing(shares, f"P{number}"),
            "freeze": freezing(shares, f"F{index}", fruits=bool(number % 2)),
            "unfreeze": unfreezing(shares, f"F{number}"),
            "deduct": deducting(shares, f"F{number}"),
            "gift": ("transfer", sale(HOLDER, OTHER, shares, reason="gift")),
            "back": ("transfer", sale(OTHER, HOLDER, shares, reason="gift")),
            "issue": issuing(entry(HOLDER, shares), before=total),
        }
        if watched.run(*calls[kind]).code is None and kind == "issue":
            total += shares


@pytest.mark.req("N0-17", "N0-19")
def test_the_events_of_random_datasets_give_the_encumbrances_of_the_state(tmp_path: Path) -> None:
    met: set[str] = set()
    for seed in range(10):
        folder = tmp_path / str(seed)
        write_dataset(Generator(2_000 + seed, EVENTS, BASIC + LATER).dataset(), folder)
        market = read_dataset(folder)
        assert isinstance(market, MarketDataset)
        state, outcomes = processed(market)
        assert replayed(outcomes) == state
        met |= {kind for kind, _ in replayed(outcomes)}
    assert met == {"freeze", "pledge"}


@pytest.mark.req("N0-17", "N0-20")
def test_the_published_encumbrances_and_dividends_follow_from_the_events_alone() -> None:
    _, outcomes = processed(dataset("market-tiny"))
    expected = DATA / "market-tiny" / "expected"
    assert encumbrances_csv(replayed(outcomes)) == (expected / "encumbrances.csv").read_bytes()
    assert dividends_csv(outcomes) == (expected / "dividends.csv").read_bytes()


def test_shares_that_come_in_are_told_of_every_freeze_that_takes_some() -> None:
    """A gift serves two waiting freezes; the pledge and the freeze before them stay unmentioned."""
    watched = Watched()
    watched.run(*pledging(100))
    for number, shares in (("A", 700), ("B", 30), ("C", 50), ("D", 10)):
        assert watched.run(*freezing(shares, number)).code is None
    outcome = watched.run("transfer", sale(OTHER, HOLDER, 50, reason="gift"))
    assert [name for name, _ in announced(outcome.events)] == [("freeze", "B"), ("freeze", "C")]
    assert [record["effective"] for _, record in announced(outcome.events)] == [30, 20]
    (body,) = [body for topic, body in outcome.events if topic == TOPIC]
    assert isinstance(body, dict)
    assert body["time"] == "2025-09-01T10:00:00+08:00"


def test_what_ends_is_told_and_a_refused_call_tells_nothing() -> None:
    watched = Watched()
    watched.run(*pledging(100))
    refused = watched.run(*releasing(101))
    assert (refused.code, refused.events) == ("PLEDGE_SHARES_EXCEEDED", [])
    ((name, record),) = announced(watched.run(*releasing(100)).events)
    assert (name, record["outstanding"], record["registered"]) == (("pledge", "P1"), 0, 100)


def test_a_freeze_and_a_pledge_of_one_number_are_two() -> None:
    watched = Watched()
    watched.run(*pledging(100, "N1"))
    watched.run(*freezing(200, "N1"))
    assert replayed(watched.outcomes).keys() == {("pledge", "N1"), ("freeze", "N1")}


def test_a_whole_queue_that_is_served_at_once_takes_few_events() -> None:
    """A receipt has room for the positions of an issue of 4,000 entries and 96 events more."""
    market = opened(entry(HOLDER, 1_000))
    market.do(*freezing(1_000, "first"))
    for number in range(constant("WAITING_MAX")):
        assert market.host.run(REGISTER_V3, *freezing(1, f"FR{number:06}")).code is None
    outcome = market.do(*unfreezing(1_000, "first"))
    found = announced(outcome.events)
    assert [name for _, name in dict(found)] == [
        "first",
        *(f"FR{number:06}" for number in range(constant("WAITING_MAX"))),
    ]
    assert dict(found) == recorded(market.host)
    assert len([topic for topic, _ in outcome.events if topic == TOPIC]) < 10


def test_long_records_come_in_events_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    watched.run(*freezing(700, "A"))
    for number, words in (("B", 200), ("C", 1), ("D", 1)):
        watched.run(*freezing(10, number, court_doc_no="长" * words))
    change_rules(monkeypatch, ANNOUNCED_LENGTH_MAX=600)
    outcome = watched.run(*unfreezing(100, "A"))
    names = [
        [name for _, name in dict(announced([event]))]
        for event in outcome.events
        if event[0] == TOPIC
    ]
    assert names == [["A"], ["B"], ["C", "D"]]
