"""Who is asking: set by the guard for the time of one call, read by handlers through `caller()`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated identity with the roles its key carries."""

    did: str
    key_id: str
    organisation: str
    roles: frozenset[str]


_current: ContextVar[Caller] = ContextVar("guqiao_caller")


def caller() -> Caller:
    """The caller of the RPC that is being handled. Outside a signed call there is none:
    `LookupError`, a bug.
    """
    return _current.get()


@contextmanager
def calling_as(identity: Caller) -> Iterator[None]:
    """Handle something in the name of `identity`."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)
