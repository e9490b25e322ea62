"""What callers were refused, counted by organisation and code."""

from __future__ import annotations

from typing import Final

from services.chassis.telemetry import Metrics

ORGANISATIONS_MAX: Final = 200
"""Organisations that a process counts by name: a label is kept as long as the process."""
UNKNOWN: Final = "unknown"
"""Who has proven no identity: nobody is accused because a name was claimed."""
OTHERS: Final = "others"


class RpcRefusals:
    """The codes are those of the rule catalogue, so both labels are bounded."""

    def __init__(self, metrics: Metrics) -> None:
        self._counter = metrics.counter(
            "guqiao_rpc_refusals_total",
            "Calls, and items of streams, that ended with a code, by the caller's organisation",
            ("organisation", "code"),
        )
        self._named: set[str] = set()

    def count(self, organisation: str | None, code: str) -> None:
        """A caller of `organisation` was refused with `code`; None: it is not known whose."""
        self._counter.labels(organisation=self._label(organisation), code=code).inc()

    def _label(self, organisation: str | None) -> str:
        if not organisation:
            return UNKNOWN
        if organisation not in self._named:
            if len(self._named) == ORGANISATIONS_MAX:
                return OTHERS
            self._named.add(organisation)
        return organisation
