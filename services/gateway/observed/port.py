"""The port of observed chains: what a regulator reads of any chain, whatever software runs it.

Whoever uses it knows no adapter. Every method but `status` gives only what was verified; what
cannot be verified raises `ProofError`, what the nodes do wrong an error of `errors.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObservedStatus:
    """Where one node says that it stands. Not proven."""

    height: int
    header_hash: bytes
    is_catching_up: bool
    voters: int


@dataclass(frozen=True, slots=True)
class ObservedHeader:
    """A certified header; `signers` are the public keys, 64 bytes each, whose signatures hold.

    `proof` is what was verified, as that chain has it: its verifier takes it again years later.
    """

    height: int
    header_hash: bytes
    parent: bytes
    time_ms: int
    transactions_root: bytes
    receipts_root: bytes
    signers: tuple[bytes, ...]
    proof: bytes


@dataclass(frozen=True, slots=True)
class ObservedTransaction:
    """A transaction with what came of it, both proven at one place of a certified block.

    `sender` and `target` are named as that chain names them; `body` is what was sent. `outcome` is
    that chain's word or number for what came of it, `result` what its receipt holds besides,
    `proof` what was verified under the header, as that chain has it.
    """

    transaction_id: bytes
    height: int
    index: int
    sender: str
    target: str
    body: bytes
    succeeded: bool
    outcome: str
    result: bytes
    proof: bytes


class ObservedChain(Protocol):
    """One chain that is read from outside."""

    @property
    def chain_id(self) -> str:
        """The chain's name, as the trust in it has it."""

    async def status(self) -> ObservedStatus:
        """Where some node says that it stands."""

    async def header(self, height: int = 0) -> ObservedHeader:
        """The header of a height (0: the latest that a node has), verified."""

    async def transactions(self, height: int) -> tuple[bytes, ...]:
        """The ids of all transactions of a block, in order and without gaps."""

    async def transaction(self, transaction_id: bytes) -> ObservedTransaction:
        """A transaction and what came of it, verified."""

    async def close(self) -> None:
        """Let go of the nodes."""
