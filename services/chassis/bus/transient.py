"""Which failures are of the surroundings and pass, and how long to wait between attempts.

Everything else is blamed on the event: after a bounded number of attempts it is parked. A task that
is being cancelled tries nothing again, whatever its clean-up ran into.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import asyncpg

from services.chassis.bus.port import TopicMissingError, TransientError

# How asyncpg puts it when the server dies under a connection, besides its connection errors. The
# last: the client's state machine was in the middle of an operation when the connection was lost.
_CLOSED_MESSAGES = (
    "connection is closed",
    "connection was closed",
    "pool is clos",
    "released back",
    "cannot switch to state",
)


def is_transient(error: BaseException) -> bool:
    """Whether trying the same again later can help: something is away, full, ill or in the way.

    An ill database (58030 and its class, XX000, XX001) is to be mended by people; no event is to
    blame for it, and none may be given up.

    In a task that is being cancelled it raises `CancelledError`: when a connection is lost in the
    same moment, the clean-up's failure takes the place of the cancellation, and a loop that goes on
    after failures would never end.
    """
    stay_cancelled(error)
    if isinstance(
        error,
        TransientError
        | TopicMissingError
        | OSError
        | TimeoutError
        | asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError
        | asyncpg.InsufficientResourcesError
        | asyncpg.PostgresSystemError
        | asyncpg.InternalServerError
        | asyncpg.TransactionRollbackError
        | asyncpg.LockNotAvailableError,
    ):
        return True
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return any(text in str(error) for text in _CLOSED_MESSAGES)
    return False


def stay_cancelled(error: BaseException) -> None:
    """Raise `CancelledError` if the running task is being cancelled."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return  # Asked outside of any task.
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


@dataclass(slots=True)
class Backoff:
    """Doubles from the first wait to the longest, and stays there: attempts never end."""

    first_seconds: float
    max_seconds: float
    _next: float = field(default=0.0, init=False)

    def next_seconds(self) -> float:
        """How long to wait this time."""
        seconds = self._next or self.first_seconds
        self._next = min(seconds * 2, self.max_seconds)
        return seconds

    def reset(self) -> None:
        """Progress was made: start small again."""
        self._next = 0.0
