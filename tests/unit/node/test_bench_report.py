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
            "sm2_verifies_per_s": 6_100,
            "shared": False,
            "revision": "0123abcd",
            "failures": {},
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
        assert "Revision 0123abcd." in text
        assert "Not held: `tps`." in text
    assert json.loads((results / "latest.json").read_text()) == a_run()
    plot = (results / "rates.svg").read_text()
    assert [
        name for name in ("W0", "limit at W0", "batch", "goodput at 3x") if name not in plot
    ] == []
    assert "limit at batch" not in plot
    assert "of it SM2 verification" in (results / "cpu.svg").read_text()


def a_line(**other: Any) -> dict[str, Any]:
    held = {name: hold.limit for name, hold in report.HOLD.items() if hold is not None}
    known = {"sm2_verifies_per_s": 6_000, "shared": False, "failures": {}}
    return {**dict.fromkeys(report.HOLD, 1), **held, **known, **other}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tps", 999.0),
        ("p99_ms", 501.0),
        ("ratio_to_limit", 0.749),
        ("idle_final_p50_ms", 60.1),
        ("batch_ops_per_s", 4_999.0),
        ("primary_kill_recovery_s", 3.1),
        ("replica_rss_mb_max", 150.1),
        ("goodput_at_3x", 0.79),
        ("p99_at_3x", 2.01),
    ],
)
def test_a_sentence_names_what_is_not_held(name: str, value: float) -> None:
    assert report.verdict(a_line()) == "No measured figure missed its bound."
    assert report.verdict(a_line(**{name: value})) == f"Not held: `{name}`."


def test_a_rate_is_not_asked_of_a_slow_machine() -> None:
    told = report.verdict(a_line(tps=500.0, sm2_verifies_per_s=5_999))
    assert told.endswith("Not judged on this machine: `tps`.")
    assert "Not held" not in told


def test_what_was_not_measured_is_not_held_either() -> None:
    told = report.verdict(a_line(goodput_at_3x=None))
    assert told.endswith("Not measured: `goodput_at_3x`.")


def test_a_shared_machine_says_which_ratio_to_read() -> None:
    told = report.verdict(a_line(ratio_to_limit=0.9, shared=True, shared_because="0.83 of 2 cores"))
    assert "Not judged on this machine: `ratio_to_limit`." in told
    assert "shared (0.83 of 2 cores): read `ratio_by_cpu`" in told


def test_a_phase_that_failed_is_named() -> None:
    assert report.verdict(a_line(failures={"batch": "lost"})).endswith("batch failed: lost.")
