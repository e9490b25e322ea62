"""What the contract `observed` of the regulatory chain keeps of each chain that is read from
outside, as far as others read it: keys of its state, and the bounds of one `observed.advance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import checkpoint_of
from guqiao_sdk.proof.fisco.fields import Fields
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json

CONTRACT: Final = "observed"
ACTIVE: Final = "ACTIVE"
FROZEN: Final = "FROZEN"

HEADERS_MAX: Final = 64
"""Headers in one transaction."""

SIGNATURES_MAX: Final = 512
"""Signatures under the headers of one transaction: every replica checks each."""

_STATUSES: Final = (ACTIVE, FROZEN)
_PIECE: Final = "record of an observed chain"


@dataclass(frozen=True, slots=True)
class ObservedClient:
    """What is believed of one chain: since `sealers_height` by these sealers, since
    `recorded_height` of the regulatory chain this header. Generations count new checkpoints from 0.
    """

    chain: str
    status: str
    generation: int
    trusted: TrustedFisco
    sealers_height: int
    recorded_height: int


def read_client(chain: str, record: Json) -> ObservedClient:
    """The value under `client_key`; raises `ProofError`."""
    fields = Fields.of(_PIECE, record)
    status = fields.text("status", len(FROZEN))
    if status not in _STATUSES:
        raise ProofError(_PIECE, f"its status is {status}")
    return ObservedClient(
        chain=chain,
        status=status,
        generation=fields.integer("generation"),
        trusted=checkpoint_of(fields.values.get("checkpoint")),
        sealers_height=fields.integer("sealers_height"),
        recorded_height=fields.integer("recorded_height"),
    )


def client_key(chain: str) -> str:
    """Where the client of a chain is kept, relative to the contract."""
    return f"client/{chain}"


def acknowledgement_key(chain: str, generation: int, height: int) -> str:
    """Where the acknowledgement of a height is kept, relative to the contract."""
    return f"acknowledgement/{chain}/{generation:010d}/{height:020d}"
