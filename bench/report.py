"""Keeps a run: JSON in bench/results/, and a table with plots (plain SVG) in bench/README.md."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "results"
README: Final = FOLDER / "README.md"
BEGIN: Final = "<!-- figures of the last kept run: begin -->"
END: Final = "<!-- figures of the last kept run: end -->"

VERIFIES_FOR_TPS: Final = 6_000
"""On a machine that verifies more slowly the design asks for no rate in itself."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A bound that the design sets (docs/design.md, section 12; reliability.md, T-21), and what it
    hopes for at best.
    """

    limit: float
    at_most: bool = False
    stretch: float | None = None
    where: str = ""

    def holds(self, value: float) -> bool:
        """Whether a measured value keeps the bound."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:,}{self.where}"


HOLD: Final[Mapping[str, Hold | None]] = {
    "tps": Hold(
        1_000,
        stretch=1_300,
        where=f" where both cores do ≥ {VERIFIES_FOR_TPS:,} verifications/s",
    ),
    "p50_ms": None,
    "p99_ms": Hold(500, at_most=True),
    "sm2_verifies_per_s": None,
    "ratio_to_limit": Hold(0.75, stretch=0.9),
    "ratio_by_cpu": None,
    "cpu_us_per_tx": None,
    "replica_cores": None,
    "driver_cores": None,
    "idle_final_p50_ms": Hold(60, at_most=True, stretch=30),
    "batch_ops_per_s": Hold(5_000, stretch=10_000),
    "primary_kill_recovery_s": Hold(3, at_most=True, stretch=1.5),
    "view_changes_without_fault": None,
    "catch_up_blocks_per_s": None,
    "catch_up_transactions_per_s": None,
    "replica_rss_mb_max": Hold(150, at_most=True, stretch=100),
    "goodput_at_3x": Hold(0.8),
    "p99_at_3x": Hold(2, at_most=True),
    "cross_chain_p95_ms": Hold(2_000, at_most=True, stretch=1_000),
}


def keep(result: Mapping[str, Any], *, readme: bool) -> None:
    """Write the result; `readme`: also the table and the plots."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(result["began"]))
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / f"{stamp}.json").write_text(text)
    if not readme:
        return
    (RESULTS / "latest.json").write_text(text)
    (RESULTS / "cpu.svg").write_text(bars("CPU µs per transaction, all replicas", _cpu(result)))
    (RESULTS / "rates.svg").write_text(bars("transactions per second", _rates(result)))
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{table(result)}{END}{after}")


def table(result: Mapping[str, Any]) -> str:
    """The summary as Markdown, with the machine."""
    machine, line = result["machine"], result["summary"]
    rows = ["| figure | measured | to hold |", "|---|---|---|"]
    for name, hold in HOLD.items():
        value = line[name]
        told = f"null: {line['null_because'].get(name, '')}" if value is None else f"{value:,}"
        rows.append(f"| `{name}` | {told} | {hold or ''} |")
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join(
        [
            "",
            f"Machine: {facts}. Revision {line['revision'] or 'unknown'}. "
            f"The run took {result['seconds']} s.",
            "",
            verdict(line),
            "",
            *rows,
            "",
            "![CPU per transaction](results/cpu.svg) ![rates](results/rates.svg)",
            "",
        ]
    )


def verdict(line: Mapping[str, Any]) -> str:
    """In words: which figures are not held, which say nothing here, and which phases failed."""
    found: dict[str, list[str]] = {"held": [], "not held": [], "not judged": [], "not measured": []}
    for name, hold in HOLD.items():
        if hold is not None:
            found[_judged(name, hold, line)].append(f"`{name}`")
    bad, unjudged, missing = found["not held"], found["not judged"], found["not measured"]
    told = [f"Not held: {', '.join(bad)}." if bad else "No measured figure missed its bound."]
    if unjudged:
        told.append(f"Not judged on this machine: {', '.join(unjudged)}.")
    if missing:
        told.append(f"Not measured: {', '.join(missing)}.")
    if line["shared"]:
        told.append(
            f"The machine was shared ({line['shared_because']}): "
            "read `ratio_by_cpu`, not `ratio_to_limit`."
        )
    told += [f"{name} failed: {reason}." for name, reason in line["failures"].items()]
    return " ".join(told)


def _judged(name: str, hold: Hold, line: Mapping[str, Any]) -> str:
    value = line[name]
    if value is None:
        return "not measured"
    slow = (line["sm2_verifies_per_s"] or 0) < VERIFIES_FOR_TPS
    if (name == "tps" and slow) or (name == "ratio_to_limit" and line["shared"]):
        return "not judged"
    return "held" if hold.holds(value) else "not held"


def bars(title: str, values: Sequence[tuple[str, float]]) -> str:
    """A bar chart as SVG text."""
    width, height, left, step = 560, 40 + 26 * len(values), 210, 26
    largest = max((value for _, value in values), default=1.0) or 1.0
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<text x="8" y="20" font-weight="bold">{title}</text>',
    ]
    for number, (label, value) in enumerate(values):
        top, length = 32 + step * number, (width - left - 80) * value / largest
        lines += [
            f'<text x="8" y="{top + 14}">{label}</text>',
            f'<rect x="{left}" y="{top}" width="{length:.1f}" height="18" fill="#4a78b0"/>',
            f'<text x="{left + length + 6:.1f}" y="{top + 14}">{value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _cpu(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    found = []
    for name, figures in result["phases"].items():
        if figures.get("cpu_us_per_tx"):
            found.append((name, figures["cpu_us_per_tx"]))
            if name == "W0":
                verifications = 4 * figures["sm2_verify_cpu_us"]
                found.append(("of it SM2 verification", verifications))
    return found


def _rates(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    found = []
    for name, figures in result["phases"].items():
        if "tps" in figures:
            found.append((name, figures["tps"]))
        if "limit_tps" in figures:
            found.append((f"limit at {name}", figures["limit_tps"]))
        if "goodput_tps" in figures:
            found.append(("goodput at 3x", figures["goodput_tps"]))
    return found
