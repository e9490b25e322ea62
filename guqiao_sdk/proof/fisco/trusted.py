"""What is believed of one chain: a checkpoint that people gave, and what follows from it.

A header is believed when sealers of the held set with the weight of a quorum signed it. A header
that lists other sealers is believed, and its list from then on held, only where the *held* set's
quorum signed it too, besides the listed one's: then those who were believed vouch for the new list.
Any other change of sealers is refused; it takes a new checkpoint. No header of that chain names the
sealers of the next one, so nothing else can be proven about them.

A header names neither chain nor group: both are in the genesis block's text and in transactions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.header import CertifiedHeader, FiscoHeader
from guqiao_sdk.proof.fisco.sealers import SealerSet
from guqiao_sdk.proof.header import Verify

_UNVERIFIED: Final = "HEADER_UNVERIFIED"
_FROZEN: Final = "CLIENT_FROZEN"


@dataclass(frozen=True, slots=True)
class TrustedFisco:
    """The chain, its group, its genesis; the latest header believed, and the sealers held."""

    chain_id: str
    group_id: str
    genesis_hash: bytes
    number: int
    header_hash: bytes
    sealers: SealerSet

    @property
    def name(self) -> str:
        """Chain and group, as refusals name them."""
        return f"{self.chain_id}/{self.group_id}"


class ForkError(ProofError):
    """Two certified headers of one height: freeze what follows the chain and keep both."""

    def __init__(self, piece: str, known: bytes, other: CertifiedHeader) -> None:
        super().__init__(
            piece, "a quorum certified it, and it excludes a header certified before", _FROZEN
        )
        self.known = known
        self.other = other


def advance(trusted: TrustedFisco, certified: CertifiedHeader, verify: Verify) -> TrustedFisco:
    """The trust after a header, or `ProofError` (`ForkError` for a fork). Heights may be skipped;
    the latest header again changes nothing.
    """
    header = certified.header
    piece = _piece(trusted, header)
    if header.number < trusted.number:
        raise ProofError(piece, f"height {trusted.number} is trusted already", _UNVERIFIED)
    check_header(trusted, certified, verify)
    found = header.hash()
    if header.number == trusted.number and found != trusted.header_hash:
        raise ForkError(piece, trusted.header_hash, certified)
    if header.number == trusted.number + 1 and header.parent_hash != trusted.header_hash:
        raise ForkError(piece, trusted.header_hash, certified)
    return replace(trusted, number=header.number, header_hash=found, sealers=header.sealers)


def check_header(trusted: TrustedFisco, certified: CertifiedHeader, verify: Verify) -> None:
    """Raise `ProofError` unless the header, of any height, is certified by whom is believed."""
    header = certified.header
    piece = _piece(trusted, header)
    header.sealers.check(piece)
    if header.sealer >= len(header.sealers.sealers):
        raise ProofError(piece, f"sealer {header.sealer} is not in its list", _UNVERIFIED)
    indices = [index for index, _ in certified.signatures]
    if len(set(indices)) != len(indices):
        raise ProofError(piece, "a sealer signed it twice", _UNVERIFIED)
    signed = _signed_weights(piece, trusted, certified, verify)
    if signed[0] < header.sealers.quorum:
        raise ProofError(
            piece,
            f"weight {signed[0]} signed it, the quorum is {header.sealers.quorum}",
            _UNVERIFIED,
        )
    if header.sealers != trusted.sealers and signed[1] < trusted.sealers.quorum:
        raise ProofError(
            piece,
            f"its sealers are others, and only weight {signed[1]} of those believed signed it",
            "OBSERVED_SET_UNPROVEN",
        )


def _signed_weights(
    piece: str, trusted: TrustedFisco, certified: CertifiedHeader, verify: Verify
) -> tuple[int, int]:
    """The weight of the signers, as the header lists them and as the held set does."""
    message, listed = certified.header.hash(), certified.header.sealers.sealers
    by_list, by_trust = 0, 0
    for index, signature in certified.signatures:
        if index >= len(listed):
            raise ProofError(piece, f"sealer {index} is not in its list", _UNVERIFIED)
        sealer = listed[index]
        if not verify(sealer.public_key, message, signature):
            raise ProofError(piece, f"the signature of sealer {index} does not hold", _UNVERIFIED)
        by_list += sealer.weight
        by_trust += trusted.sealers.weight_of(sealer.node_id)
    return by_list, by_trust


def _piece(trusted: TrustedFisco, header: FiscoHeader) -> str:
    return f"header of {trusted.name} height {header.number}"
