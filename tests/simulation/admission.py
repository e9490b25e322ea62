"""The production's stateless admission, once for the same bytes, whoever of a run asks for it."""

from __future__ import annotations

from services.consensus.domain.ledger.admission import (
    AdmittedTransaction,
    Refused,
    check_expiry,
    check_stateless,
    check_stateless_many,
    refused_transaction,
)
from services.consensus.domain.messages import BatchRefused, PrePrepare
from tests.simulation.keys import CHAIN
from tests.simulation.workload import verify_many


class Admission:
    """Of one run."""

    def __init__(self) -> None:
        self._admitted: dict[bytes, AdmittedTransaction] = {}
        self._refusals: dict[tuple[bytes, int], tuple[int, Refused] | None] = {}

    def admit(self, encoded: bytes, height: int, time_ms: int) -> AdmittedTransaction | None:
        """At submission: as in the production, of what was admitted before only the expiry is asked
        again.
        """
        known = self._admitted.get(encoded)
        if known is not None:
            return known if check_expiry(known.payload, height, time_ms) is None else None
        verdict = check_stateless(
            encoded,
            chain_id=CHAIN,
            now_height=height,
            block_time_ms=time_ms,
            verify_many=verify_many,
        )
        if isinstance(verdict, Refused):
            return None
        self._admitted[encoded] = verdict
        return verdict

    def refusal_of(self, message: PrePrepare) -> BatchRefused | None:
        """Of a proposed batch."""
        place = (message.digest, message.sequence)
        if place not in self._refusals:
            verdicts = check_stateless_many(
                message.batch.transactions,
                chain_id=CHAIN,
                now_height=message.sequence - 1,
                block_time_ms=message.batch.block_time_ms,
                verify_many=verify_many,
            )
            self._refusals[place] = refused_transaction(message.batch.transactions, verdicts)
        refused = self._refusals[place]
        return None if refused is None else BatchRefused(message, refused[1].code, refused[0])
