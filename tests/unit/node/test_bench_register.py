"""The bench of the register: what it imports is accepted by the rules, and its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import register
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from tests.unit.contracts.market_generator import write_dataset
from tests.unit.contracts.market_reference import Reference


@pytest.mark.req("N0-19")
def test_every_event_of_the_bench_is_accepted_by_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer accounts; an independent reference judges."""
    monkeypatch.setattr(register, "ACCOUNTS", 12)
    monkeypatch.setattr(register, "PRODUCTS", 3)
    made = register.dataset(40)
    write_dataset(made, tmp_path / "market")
    read = read_dataset(tmp_path / "market")
    assert isinstance(read, MarketDataset)
    reference = Reference(
        made.market, made.companies, made.investors, made.products, made.trading_days
    )
    codes = [reference.process(event) for event in made.events]
    assert codes == [""] * (12 + 1 + 3 + 40)
    assert len(list(reference.roster())) == 12 * 3
