"""Following an observed chain block by block, whatever kind it is: each names the one before it.

No height is passed over: who may sign the next header is said by the headers before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from guqiao_sdk.proof.errors import ProofError
from services.gateway.observed.errors import ItemUnknownError
from services.gateway.observed.port import ObservedChain, ObservedHeader

BLOCKS_A_ROUND: Final = 1_000


class Known(Protocol):
    """The block to go on from."""

    @property
    def height(self) -> int:
        """Its height."""

    @property
    def header_hash(self) -> bytes:
        """Its header's hash."""


@dataclass(frozen=True, slots=True)
class KnownBlock:
    """One that is known by its height and hash alone."""

    height: int
    header_hash: bytes


@dataclass(frozen=True, slots=True)
class ObservedBlock:
    """A certified header and the ids of all transactions under it."""

    header: ObservedHeader
    transactions: tuple[bytes, ...]


async def follow(
    chain: ObservedChain, known: Known, *, blocks_max: int = BLOCKS_A_ROUND
) -> AsyncIterator[ObservedBlock]:
    """The blocks after `known`, at most so many, up to the first that no node has. Raises
    `ProofError` where a block does not follow the one before it.
    """
    for height in range(known.height + 1, known.height + 1 + blocks_max):
        try:
            header = await chain.header(height)
        except ItemUnknownError:
            return
        if header.height != height or header.parent != known.header_hash:
            piece = f"block {chain.chain_id}/{height}"
            raise ProofError(piece, "its parent is another block than the one before it")
        yield ObservedBlock(header, await chain.transactions(height))
        known = header
