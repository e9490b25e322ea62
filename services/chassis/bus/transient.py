"""Which failures are of the surroundings and pass, and how long to wait between attempts.

Everything else is blamed on the event: after a bounded number of attempts it is parked.
"""

from __future__ import annotations

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
    """Whether trying the same again later can help: something is away, full, or in the way."""
    if isinstance(
        error,
        TransientError
        | TopicMissingError
        | OSError
        | TimeoutError
        | asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError
        | asyncpg.InsufficientResourcesError
        | asyncpg.TransactionRollbackError
        | asyncpg.LockNotAvailableError,
    ):
        return True
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return any(text in str(error) for text in _CLOSED_MESSAGES)
    return False


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
