"""Following an observed chain block by block, whatever kind it is: each names the one before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from services.gateway.observed.port import ObservedChain, ObservedHeader

BLOCKS_A_ROUND: Final = 1_000


@dataclass(frozen=True, slots=True)
class ObservedBlock:
    """A certified header and the ids of all transactions under it."""

    header: ObservedHeader
    transactions: tuple[bytes, ...]


async def follow(
    chain: ObservedChain, known: ObservedHeader, *, blocks_max: int = BLOCKS_A_ROUND
) -> AsyncIterator[ObservedBlock]:
    """The blocks after `known` up to the latest one, at most so many; then it ends. Raises
    `ProofError` where a block does not follow the one before it.
    """
    latest = await chain.header()
    last = min(latest.height, known.height + blocks_max)
    for height in range(known.height + 1, last + 1):
        header = await chain.header(height)
        if header.height != height or header.parent != known.header_hash:
            piece = f"block {chain.chain_id}/{height}"
            raise ProofError(piece, "its parent is another block than the one before it")
        yield ObservedBlock(header, await chain.transactions(height))
        known = header
