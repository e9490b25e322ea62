"""What one replica answered to a submission, proven by what others hold.

The replica asked for the proof may be a moment behind the one that answered, or lie: then another
one is asked. A result that nobody proves in time is OUTCOME_UNKNOWN; one that a certified block
contradicts is a `ProofError`. Neither is ever returned as a result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.endpoints import Endpoints
from guqiao_sdk.client.failures import unknown_outcome
from guqiao_sdk.client.proven import ProvenTransaction, check_receipt
from guqiao_sdk.client.submission import Submission
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.errors import (
    DeniedError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
)
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.transaction import SignedTransaction

T = TypeVar("T")

PROOF_SECONDS: Final = 20.0
"""How long the other replicas may take to reach what one has answered."""


class Reader(Protocol):
    """Reads verified pieces of the chain at any replica."""

    async def get_block(self, height: int) -> VerifiedBlock:
        """The block of a height."""

    async def get_transaction(self, transaction_id: bytes) -> ProvenTransaction:
        """A final transaction."""


class ResultChecker:
    """Judges the results of one client's submissions."""

    def __init__(self, reader: Reader, endpoints: Endpoints) -> None:
        self._reader = reader
        self._endpoints = endpoints

    async def check(self, transaction: SignedTransaction, result: TransactionResult) -> None:
        """Return if a certified block says what the replica said; raise otherwise."""
        transaction_id = transaction.id()
        piece = f"result of transaction {transaction_id.hex()}"
        proven = await self._reached(
            transaction, lambda: self._reader.get_transaction(transaction_id)
        )
        place = (proven.header.height, proven.header.hash(), proven.result.index)
        if place == (result.height, result.header_hash, result.index):
            check_receipt(piece, transaction_id, result, proven.receipt)
            return
        # A repetition after the transaction's own receipt, or an attempt that had no effect.
        await self._check_in_block(transaction, result)

    async def checked(self, submission: Submission) -> Submission:
        """The same for a stream, in which one block proves many results. What nobody proves
        becomes a submission that ended with OUTCOME_UNKNOWN.
        """
        if submission.result is None:
            return submission
        transaction = submission.transaction
        try:
            try:
                await self._check_in_block(transaction, submission.result)
            except DeniedError:
                # Blocks are for restricted readers; one's own transactions are not.
                await self.check(transaction, submission.result)
        except OutcomeUnknownError as error:
            return Submission(transaction, None, error)
        return submission

    async def _check_in_block(
        self, transaction: SignedTransaction, result: TransactionResult
    ) -> None:
        transaction_id = transaction.id()
        piece = f"result of transaction {transaction_id.hex()}"
        block = await self._reached(transaction, lambda: self._reader.get_block(result.height))
        if result.index >= len(block.receipts) or block.header.hash() != result.header_hash:
            raise ProofError(piece, "it names a place that the certified block does not have")
        check_receipt(piece, transaction_id, result, block.receipts[result.index])

    async def _reached(self, transaction: SignedTransaction, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._endpoints.reached(call, PROOF_SECONDS)
        except (NotFoundError, UnavailableError, OutcomeUnknownError) as error:
            raise unknown_outcome(transaction) from error
