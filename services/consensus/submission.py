"""Submitting a transaction: admit it, pass it on for ordering, wait for its block to be final.

Idempotent: the same payload has the same id and the same result, before and after it was executed.
An outcome is told only from a certified block; where none is known in time, that is what is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import SignedTransaction, transaction_id
from services.chassis.errors import ExhaustedError, Fact, ServiceError, UnavailableError
from services.chassis.grpc_server.grpc_errors import error_of_code
from services.consensus.domain.ledger.admission import Refused
from services.consensus.driver import Driver
from services.consensus.finality import FinalityBoard
from services.consensus.intake import Intake
from services.consensus.jobs import Pause
from services.consensus.ledger import Ledger
from services.consensus.mempool import Addition


@dataclass(frozen=True, slots=True)
class Submissions:
    """What a client's submission needs."""

    driver: Driver
    intake: Intake
    ledger: Ledger
    finality: FinalityBoard

    async def submit(
        self, transaction: SignedTransaction, *, wait_final: bool, client: str = ""
    ) -> ledger_pb2.TransactionResult | None:
        """The final result, or None on admission; raises the error that refused it. `client` is
        the organisation that sent it, "" for what this replica says itself.

        Everything up to the admission queue happens before the first wait, so that transactions
        submitted one after the other are judged in that order.
        """
        result = self.ledger.final_result(transaction.id())
        if result is not None:
            return result
        self._check_open()
        if self.ledger.is_outcome_lost(transaction.id()):
            raise self.ledger.history_not_here(0)
        with self.finality.waiting(transaction.id()) as final:
            verdict = await self.intake.transactions.admit(transaction, client=client)
            if isinstance(verdict, Refused):
                raise refusal_error(verdict)
            if verdict is Addition.FULL:
                raise full_error(len(self.driver.mempool))
            return await final if wait_final else None

    def is_full_for(self, payload: bytes) -> bool:
        """Whether `submit` would refuse it for want of room, whatever else it is: under overload to
        say so must cost as little as can be.
        """
        return (
            self.intake.transactions.is_full_for(payload)
            and self.driver.pause is Pause.NONE
            and self.ledger.final_result(transaction_id(payload)) is None
        )

    def _check_open(self) -> None:
        match self.driver.pause:
            case Pause.DISK_FULL:
                raise UnavailableError("DISK_FULL")
            case Pause.HALTED:
                raise UnavailableError("CHAIN_UNAVAILABLE", why="halted")
            case Pause.RESTORING:
                raise UnavailableError("CHAIN_NOT_CAUGHT_UP")
            case Pause.NONE:
                return


def full_error(pending: int) -> ExhaustedError:
    """What a client is told for want of room."""
    return ExhaustedError("QUEUE_FULL", pending=pending)


def refusal_error(refused: Refused) -> ServiceError:
    """The error for a refusal of admission."""
    facts = {name: _fact(value) for name, value in refused.fields.items()}
    return error_of_code(refused.code, **facts)


def _fact(value: Json) -> Fact:
    return value if isinstance(value, str | int | bool) or value is None else str(value)
