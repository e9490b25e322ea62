"""The registration institution's statement on an investor's identity: what may be on chain of it
(G2-17-7, G2-17-8).

The number itself stays off chain. The chain gets a keyed digest, equal for equal numbers of one
market, and the first business date on which the number is valid; whoever reads the chain learns
neither number nor birthday.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.gm.sm3 import hmac_sm3
from guqiao_sdk.market_identifiers import identity_valid_from
from guqiao_sdk.proof.canonical import tagged


@dataclass(frozen=True, slots=True)
class Investor:
    """An investor's body: non-public data."""

    investor_ref: str
    investor_code: str
    name: str
    id_type: str
    id_number: str

    def encode(self) -> bytes:
        """The bytes that are sealed and compared."""
        return tagged(
            "guqiao/investor-body/1",
            self.investor_ref.encode(),
            self.investor_code.encode(),
            self.name.encode(),
            self.id_type.encode(),
            self.id_number.encode(),
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """`identity_digest` is 32 bytes;

    `identity_valid_from` is a date, or None when the number is not valid.
    """

    investor_ref: str
    identity_digest: bytes
    identity_valid_from: str | None


def state(investor: Investor, *, key: bytes, as_of: str) -> Statement:
    """Judge the number as of a business date (YYYY-MM-DD) and digest it under the market's key."""
    parts = tagged("guqiao/identity/1", investor.id_type.encode(), investor.id_number.encode())
    valid_from = identity_valid_from(investor.id_type, investor.id_number, as_of=as_of)
    return Statement(investor.investor_ref, hmac_sm3(key, parts), valid_from)
