"""Who may call what: one row a method, or the server does not start.

A method without a row, a row without a method, and a client stream that does not say how its items
are signed are all mistakes that must be seen at start, not at the first call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import grpc

ANY_ROLE: Final = frozenset({"*"})


class StreamItems(StrEnum):
    """How the messages after the opening of a client stream are authenticated."""

    TRANSACTIONS = "transactions"  # Each is a signed transaction; the handler verifies it.
    SIGNED = "signed"  # Each carries a counter and a signature of its own (`guqiao_sdk.signing`).


@dataclass(frozen=True, slots=True)
class Policy:
    """One row: the roles of which a caller needs one (`ANY_ROLE`: any registered key), and the
    method's own limits.
    """

    roles: frozenset[str]
    stream_items: StreamItems | None = None
    deadline_seconds: float | None = None
    message_bytes_max: int | None = None

    def __post_init__(self) -> None:
        assert self.roles, "a policy names its roles; ANY_ROLE says any"

    @classmethod
    def of(cls, *roles: str, stream_items: StreamItems | None = None) -> Self:
        """A row for these roles, in short."""
        return cls(frozenset(roles), stream_items)

    def allows(self, roles: frozenset[str]) -> bool:
        """Whether one of `roles` suffices."""
        return self.roles == ANY_ROLE or not self.roles.isdisjoint(roles)


class PolicyIncompleteError(Exception):
    """The policy table and the registered methods do not match; the server refuses to start."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def check_policies(
    methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]], table: Mapping[str, Policy | None]
) -> None:
    """Raise `PolicyIncompleteError` unless every method has its row and every row its method."""
    problems = [f"{method} has no policy row" for method in sorted(methods.keys() - table.keys())]
    problems += [
        f"the row {method} names no method" for method in sorted(table.keys() - methods.keys())
    ]
    for method in sorted(methods.keys() & table.keys()):
        row = table[method]
        if row is None:
            continue
        if methods[method].request_streaming and row.stream_items is None:
            problems.append(f"{method} streams requests, its row must say stream_items")
        if not methods[method].request_streaming and row.stream_items is not None:
            problems.append(f"{method} takes one request, its row must not say stream_items")
    if problems:
        raise PolicyIncompleteError(problems)
