"""A market's ledger with the register contract and a dataset's events on it, in blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from guqiao_sdk.market_dataset import MarketDataset
from services.consensus.domain.contracts.identity_record import IdentityRecord
from services.consensus.domain.contracts.register.contract import REGISTER_V3, RegisterContract
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


def market_chain(
    keys: Keys, contract: RegisterContract = REGISTER_V3, others: Iterable[IdentityRecord] = ()
) -> LedgerChain:
    """A market's chain in historic import whose own identity may do all that a market does."""
    return LedgerChain(
        "shandong",
        keys,
        destination="csrc",
        remotes={"csrc": Replicas(keys, "csrc").set.hash()},
        roles=MARKET_ROLES,
        others=others,
        contracts=[contract],
        historic_import=True,
    )


def load_reference_data(chain: LedgerChain, market: MarketDataset) -> None:
    """The dataset's reference data, one block a call."""
    for method, body in market.reference_calls(identity_digest):
        receipt = chain.call("register", method, body)
        assert receipt.accepted, (method, receipt.code, receipt.detail)


def market_ledger(
    keys: Keys,
    name: str,
    events_max: int = 10_000,
    *,
    contract: RegisterContract = REGISTER_V3,
    others: Iterable[IdentityRecord] = (),
    block_events: int = 1,
) -> MarketLedger:
    """The chain after the first events of a dataset, so many in each block."""
    return ledger_of(
        keys, dataset(name), events_max, contract=contract, others=others, block_events=block_events
    )


def ledger_of(
    keys: Keys,
    market: MarketDataset,
    events_max: int = 10_000,
    *,
    contract: RegisterContract = REGISTER_V3,
    others: Iterable[IdentityRecord] = (),
    block_events: int = 1,
) -> MarketLedger:
    """The same for a dataset that was read."""
    ledger = MarketLedger(market_chain(keys, contract, others), market)
    chain, events = ledger.chain, ledger.market.events[:events_max]
    load_reference_data(chain, ledger.market)
    for start in range(0, len(events), block_events):
        block = events[start : start + block_events]
        chain.execute(
            *(
                chain.transaction(
                    "register",
                    event.type,
                    event.body,
                    request_id=event.request_id,
                    business_time=event.time,
                )
                for event in block
            )
        )
        ledger.heights.update({event.seq: chain.header.height for event in block})
    return ledger
