"""The one line of a run, out of the phases' figures: every figure is there, null with its reason
where it was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PLACES: Final[Mapping[str, str]] = {
    "tps": "W0",
    "p50_ms": "W0",
    "p99_ms": "W0",
    "sm2_verifies_per_s": "W0",
    "ratio_to_limit": "W0",
    "ratio_by_cpu": "W0",
    "cpu_us_per_tx": "W0",
    "replica_cores": "W0",
    "driver_cores": "W0",
    "idle_final_p50_ms": "idle",
    "primary_kill_recovery_s": "kill",
    "catch_up_blocks_per_s": "catch_up",
    "catch_up_transactions_per_s": "catch_up",
    "goodput_at_3x": "overload",
    "batch_ops_per_s": "batch",
    "cross_chain_p95_ms": "cross_chain",
}
"""Figure -> the phase that measures it."""

WITH_FAULT: Final = ("kill", "catch_up")
"""Phases in which a replica is missing: there views change for a reason."""

ELSEWHERE: Final = ("cross_chain",)
"""Phases of other chains than the one that is watched."""

OBTAINED_MIN: Final = 0.85
"""Part of the cores that the processes of a saturated run use of a machine of their own: 0.95 and
more. Below this others had a notable part."""

RETRIED: Final = "QUEUE_FULL"
"""The one refusal that is in order: it names a time and the transaction comes again after it."""

_P99: Final = (("W0", "p99_ms"), ("overload", "admitted_p99_ms"))

Phases = Mapping[str, Mapping[str, Any]]


def summary(
    phases: Phases, failures: Mapping[str, str], cores: int, revision: str | None
) -> dict[str, object]:
    """The line; a figure of a phase that ended in `failures` stays beside its failure."""
    line: dict[str, object] = {
        name: phases.get(phase, {}).get(name) for name, phase in PLACES.items()
    }
    reasons = {
        name: _reason(phase, phases, failures)
        for name, phase in PLACES.items()
        if line[name] is None
    }
    memory = [figures.get("replica_memory_mb_max") for figures in phases.values()]
    line["replica_rss_mb_max"] = max((each for each in memory if each is not None), default=None)
    if line["replica_rss_mb_max"] is None:
        reasons["replica_rss_mb_max"] = "in no phase was a replica's memory read"
    line["p99_at_3x"] = _p99_at_3x(phases)
    if line["p99_at_3x"] is None:
        reasons["p99_at_3x"] = "; ".join(
            _reason(phase, phases, failures)
            for phase, name in _P99
            if phases.get(phase, {}).get(name) is None
        )
    line["view_changes_without_fault"] = _view_changes(phases)
    if line["view_changes_without_fault"] is None:
        reasons["view_changes_without_fault"] = (
            "in no phase, or not in all, a replica told its view"
        )
    line |= _shared(phases.get("W0", {}), cores)
    if line["shared"] is None:
        reasons["shared"] = _reason("W0", phases, failures)
    line["revision"] = revision
    if revision is None:
        reasons["revision"] = "not a work tree of git"
    return {**line, "failures": dict(failures), "null_because": reasons}


def spoilt_by(figures: Mapping[str, Any]) -> str | None:
    """Why a phase is no clean measurement: transactions were refused for more than want of room."""
    refusals = {
        code: count for code, count in figures.get("refusals", {}).items() if code != RETRIED
    }
    not_applied = figures.get("not_applied", {})
    if not refusals and not not_applied:
        return None
    return f"transactions were lost: refused {refusals}, not applied {not_applied}"


def _p99_at_3x(phases: Phases) -> float | None:
    """How many times W0's p99 the p99 of what is admitted under overload is (T-21)."""
    usual, admitted = (phases.get(phase, {}).get(name) for phase, name in _P99)
    return round(admitted / usual, 3) if usual and admitted is not None else None


def _view_changes(phases: Phases) -> int | None:
    told = [
        figures.get("view_changes")
        for name, figures in phases.items()
        if name not in (*WITH_FAULT, *ELSEWHERE)
    ]
    known = [each for each in told if each is not None]
    return sum(known) if known and len(known) == len(told) else None


def _shared(w0: Mapping[str, Any], cores: int) -> dict[str, object]:
    replicas, driver = w0.get("replica_cores"), w0.get("driver_cores")
    if replicas is None or driver is None:
        return {"shared": None}
    if replicas + driver >= OBTAINED_MIN * cores:
        return {"shared": False}
    because = (
        f"in W0 the replicas and the driver obtained {replicas + driver:.2f} of {cores} cores "
        f"with as many transactions in flight as fill them"
    )
    return {"shared": True, "shared_because": because}


def _reason(phase: str, phases: Phases, failures: Mapping[str, str]) -> str:
    if phase in failures:
        return failures[phase]
    if phase in phases:
        return f"{phase} came to no such figure"
    first = next(iter(failures.items()), None)
    told = f" ({first[0]}: {first[1]})" if first else ""
    return f"{phase} did not run{told}"
