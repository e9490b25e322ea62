"""Offline verification of an extract: what a chain's state holds at a height, and what it does not.

Pure apart from the signature function, as `verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guqiao_sdk.proof.extract import Extract
from guqiao_sdk.proof.framing import FRAMING, check_checksum
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.state_proof import verify_state_proof
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.verify import CertifiedBlock, OnCheck, verify_certified


@dataclass(frozen=True, slots=True)
class ExtractVerdict:
    """What an extract proves of the state after a block: under each key a value, or None where
    nothing stood there.
    """

    block: CertifiedBlock
    facts: Mapping[bytes, bytes | None]


def verify_extract(
    data: bytes, trust: Trust, verify: Verify, *, on_check: OnCheck = lambda piece: None
) -> ExtractVerdict:
    """Return what the extract proves. Raises `NotABundleError` for another kind of file and
    `ProofError` for an extract that does not hold, naming the piece.
    """
    extract = Extract.decode(data)
    block = verify_certified(trust, extract.certified, verify, on_check)
    for fact in extract.facts:
        piece = f"state of {fact.key.decode(errors='replace')[:200]}"
        verify_state_proof(
            piece=piece,
            root=extract.certified.header.state_root,
            key=fact.key,
            value=fact.value,
            proof=fact.proof,
        )
        on_check(piece)
    check_checksum(data)
    on_check(FRAMING)
    return ExtractVerdict(block, {fact.key: fact.value for fact in extract.facts})
