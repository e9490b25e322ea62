"""A market's ledger with the register contract and a dataset's events on it, one block an event."""

from __future__ import annotations

from dataclasses import dataclass, field

from guqiao_sdk.market_dataset import MarketDataset
from services.consensus.domain.contracts.register.contract import REGISTER_V1
from tests.unit.contracts.register_market import dataset, identity_digest
from tests.unit.proof.proof_keys import Keys, Replicas
from tests.unit.xchain.ledger_chain import ROLES, LedgerChain

MARKET_ROLES = ROLES | {"operator_maker", "registration_institution", "observer", "market_admin"}


@dataclass
class MarketLedger:
    """`heights` gives the block of each event by its seq."""

    chain: LedgerChain
    market: MarketDataset
    heights: dict[int, int] = field(default_factory=dict)


def market_chain(keys: Keys) -> LedgerChain:
    """A market's chain in historic import whose one identity may do all that a market does."""
    return LedgerChain(
        "shandong",
        keys,
        destination="csrc",
        remotes={"csrc": Replicas(keys, "csrc").set.hash()},
        roles=MARKET_ROLES,
        contracts=[REGISTER_V1],
        historic_import=True,
    )


def load_reference_data(chain: LedgerChain, market: MarketDataset) -> None:
    """The dataset's reference data, one block a call."""
    for method, body in market.reference_calls(identity_digest):
        receipt = chain.call("register", method, body)
        assert receipt.accepted, (method, receipt.code, receipt.detail)


def market_ledger(keys: Keys, name: str, events_max: int = 10_000) -> MarketLedger:
    """The chain after the first events of a dataset."""
    ledger = MarketLedger(market_chain(keys), dataset(name))
    load_reference_data(ledger.chain, ledger.market)
    for event in ledger.market.events:
        if event.seq > events_max:
            break
        transaction = ledger.chain.transaction(
            "register",
            event.type,
            event.body,
            request_id=event.request_id,
            business_time=event.time,
        )
        ledger.chain.execute(transaction)
        ledger.heights[event.seq] = ledger.chain.header.height
    return ledger
