"""A run of the bench is kept whole, also where a phase has not every figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report

BEFORE, AFTER = "# Speed\n\n", "\n## What follows\n"


def a_run() -> dict[str, Any]:
    w0 = {"tps": 175.7, "limit_tps": 717.0, "cpu_us_per_tx": 7_159.4, "sm2_verify_cpu_us": 465.3}
    return {
        "began": 1_700_000_000.0,
        "seconds": 240,
        "machine": {"cores": 2},
        "phases": {
            "idle": {"transactions": 40, "idle_final_p50_ms": 46.0},
            "W0": w0,
            "batch": {"tps": 306.4, "cpu_us_per_tx": 5_768.8},
            "overload": {"goodput_tps": 104.1},
            "kill": {"primary_kill_recovery_s": 1.652},
        },
        "summary": {
            **dict.fromkeys(report.HOLD),
            "tps": 175.7,
            "null_because": {"catch_up_blocks_per_s": "it was not asked for"},
        },
    }


def test_a_run_is_kept_with_a_table_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results"
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "RESULTS", results)
    readme.write_text(f"{BEFORE}{report.BEGIN}\nold figures\n{report.END}{AFTER}")
    for _ in range(2):
        report.keep(a_run(), readme=True)
        text = readme.read_text()
        assert text.startswith(BEFORE)
        assert text.endswith(AFTER)
        assert "old figures" not in text
        assert "| `tps` | 175.7 |" in text
        assert "null: it was not asked for" in text
    assert json.loads((results / "latest.json").read_text()) == a_run()
    plot = (results / "growth.svg").read_text()
    assert [
        name for name in ("W0", "limit at W0", "batch", "goodput at 3x") if name not in plot
    ] == []
    assert "limit at batch" not in plot
    assert "of it SM2 verification" in (results / "cpu.svg").read_text()
