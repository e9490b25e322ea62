"""Keeps a run: JSON in bench/results/, and a table with plots (plain SVG) in bench/README.md."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "results"
README: Final = FOLDER / "README.md"
BEGIN: Final = "<!-- figures of the last kept run: begin -->"
END: Final = "<!-- figures of the last kept run: end -->"

HOLD: Final[Mapping[str, str]] = {
    "tps": "≥ 1,000 where both cores do ≥ 6,000 verifications/s",
    "p50_ms": "",
    "p99_ms": "≤ 500",
    "sm2_verifies_per_s": "",
    "ratio_to_limit": "≥ 0.75",
    "ratio_by_cpu": "",
    "cpu_us_per_tx": "",
    "replica_cores": "",
    "idle_final_p50_ms": "≤ 60",
    "batch_ops_per_s": "≥ 5,000",
    "primary_kill_recovery_s": "≤ 3",
    "catch_up_blocks_per_s": "",
    "replica_rss_mb_max": "≤ 150",
    "goodput_at_3x": "≥ 0.8",
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
    (RESULTS / "growth.svg").write_text(bars("transactions per second", _rates(result)))
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
        rows.append(f"| `{name}` | {told} | {hold} |")
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join(
        [
            "",
            f"Machine: {facts}. The run took {result['seconds']} s.",
            "",
            *rows,
            "",
            "![CPU per transaction](results/cpu.svg) ![rates](results/growth.svg)",
            "",
        ]
    )


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
        if "cpu_us_per_tx" in figures:
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
