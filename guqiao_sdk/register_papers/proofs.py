"""The extracts that a paper of the register carries, judged together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.register_papers.proven import Facts
from guqiao_sdk.verify import CertifiedBlock
from guqiao_sdk.verify_extract import verify_extract


@dataclass(frozen=True, slots=True)
class Place:
    """Of which block a paper says that it is; `block_time_ms` is Unix milliseconds."""

    chain_id: str
    height: int
    block_time_ms: int


def proven_facts(
    extracts: Mapping[str, bytes], place: Place, trust: Trust, verify: Verify
) -> tuple[CertifiedBlock, Facts]:
    """The block and what stands in its state, by one extract or more under the names of their
    pieces. Raises `ProofError` where one does not hold or is of another block.
    """
    facts: dict[bytes, bytes | None] = {}
    blocks: list[CertifiedBlock] = []
    for piece, data in extracts.items():
        try:
            verdict = verify_extract(data, trust, verify)
        except NotABundleError:
            raise ProofError(piece, "it is no extract of a state") from None
        block = verdict.block
        if Place(block.chain_id, block.height, block.block_time_ms) != place:
            raise ProofError(piece, f"it is not of {place.chain_id} height {place.height}")
        facts.update(verdict.facts)
        blocks.append(block)
    return blocks[0], facts
