"""A chain of another kind, and the regulatory chain that records what is observed of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from guqiao_sdk.proof.fisco.checkpoint import checkpoint_value
from guqiao_sdk.proof.fisco.header import header_value, parse_header
from guqiao_sdk.proof.fisco.sealers import Sealer, SealerSet
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.identity_record import IdentityRecord
from services.consensus.domain.contracts.observed import ObservedContract
from tests.plugins.fisco_chain import FiscoChain, Row, sign_header
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    GENESIS_HASH,
    REGULATOR,
    Registry,
    nodes,
    registration,
)

CHAIN = "shandong"


def rows_of(chain: FiscoChain, *heights: int) -> list[Json]:
    """Headers as a relayer brings them."""
    return [header_value(parse_header(chain.block(height))) for height in heights]


def another_block(chain: FiscoChain, height: int, *, state: str = "0x" + "07" * 32) -> Row:
    """A second block of a height, certified by the same sealers."""
    row = {**chain.block(height), "stateRoot": state}
    return sign_header(row, list(enumerate(chain.names)))


@dataclass
class Observed:
    """The regulatory chain, and the market's chain of another kind."""

    registry: Registry = field(default_factory=lambda: Registry.make(ObservedContract(2)))
    fisco: FiscoChain = field(default_factory=FiscoChain)

    def call(self, method: str, body: Any, *who: IdentityRecord) -> Receipt:
        csrc = self.registry.csrc
        return csrc.execute(csrc.transaction("observed", method, body, signers=who)).receipts[0]

    def begin(self, trusted: TrustedFisco | None = None, **changes: Any) -> Receipt:
        body = {"chain": CHAIN, "checkpoint": checkpoint_value(trusted or self.fisco.trusted())}
        return self.call("begin", body | changes, *BOTH_SIDES)

    def advance(self, *heights: int, rows: Any = None, **changes: Any) -> Receipt:
        headers = rows_of(self.fisco, *heights) if rows is None else rows
        return self.call("advance", {"chain": CHAIN, "headers": headers} | changes)

    def consent(self, trusted: TrustedFisco, who: IdentityRecord = REGULATOR) -> Receipt:
        return self.call("consent", self.body(trusted), who)

    def replace(self, trusted: TrustedFisco) -> Receipt:
        return self.call("replace", self.body(trusted), *BOTH_SIDES)

    def body(self, trusted: TrustedFisco) -> dict[str, Json]:
        return {"chain": CHAIN, "checkpoint": checkpoint_value(trusted)}

    def client(self) -> Any:
        return self.kept(f"client/{CHAIN}")

    def kept(self, key: str) -> Any:
        return self.registry.csrc.value(f"observed/{key}")

    def acknowledgement(self, height: int, generation: int = 0) -> Any:
        return self.kept(f"acknowledgement/{CHAIN}/{generation:010d}/{height:020d}")


def begun() -> Observed:
    """Begun at the genesis block, with five blocks to come."""
    observed = Observed()
    for _ in range(5):
        observed.fisco.add_block(2)
    assert observed.begin().accepted
    return observed


def registered(**changes: Any) -> tuple[Observed, TrustedFisco]:
    """A chain of the other kind in the register, and the checkpoint that agrees with it."""
    platform = {
        "name": "FISCO BCOS", "version": "3.3.0", "vm": "evm", "crypto_suite": "SM2-SM3-SM4",
    }  # fmt: skip
    observed = Observed()
    observed.registry.bring("ACTIVE", registration(**{"platform": platform} | changes))
    members = nodes().set.members
    sealers = SealerSet(tuple(Sealer(each.public_key[1:], 1) for each in members))
    genesis = bytes.fromhex(GENESIS_HASH)
    return observed, TrustedFisco("chain0", "group0", genesis, 0, genesis, sealers)
