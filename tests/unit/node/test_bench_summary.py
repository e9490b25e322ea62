"""The bench's one line, over plain data: nothing is hidden, nothing is null without a reason."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from bench import __main__ as bench_main
from bench import report, watch
from bench.__main__ import OVERLOAD_SECONDS, Plan, Run
from bench.machine import revision
from bench.summary import spoilt_by, summary
from bench.watch import Watch

NO_PORT = "RuntimeError: no port is free"
NO_ROOM = "OSError: no room on the disk"


def phases() -> dict[str, dict[str, Any]]:
    return {
        "fill": {"view_changes": 1, "replica_memory_mb_max": 80.0},
        "idle": {"idle_final_p50_ms": 33.0, "view_changes": 0, "replica_memory_mb_max": 90.0},
        "W0": {
            "tps": 485.8,
            "p50_ms": 804.0,
            "p99_ms": 1_352.0,
            "sm2_verifies_per_s": 6_140,
            "ratio_to_limit": 0.319,
            "ratio_by_cpu": 0.318,
            "cpu_us_per_tx": 3_967.8,
            "replica_cores": 1.92,
            "driver_cores": 0.02,
            "view_changes": 2,
            "replica_memory_mb_max": 97.7,
        },
        "batch": {"batch_ops_per_s": 766.7, "view_changes": 0, "replica_memory_mb_max": 99.0},
        "overload": {
            "goodput_at_3x": 0.88,
            "admitted_p99_ms": 2_028.0,
            "view_changes": 0,
            "replica_memory_mb_max": 110.0,
        },
        "kill": {
            "primary_kill_recovery_s": 1.3,
            "view_changes": 4,
            "replica_memory_mb_max": 118.2,
        },
        "catch_up": {
            "catch_up_blocks_per_s": 9.4,
            "catch_up_transactions_per_s": 900.0,
            "view_changes": 1,
            "replica_memory_mb_max": 100.0,
        },
        "cross_chain": {"cross_chain_p95_ms": 640.0},
    }


def nulls(line: dict[str, Any]) -> set[str]:
    return {name for name, value in line.items() if value is None}


def test_a_whole_run_has_every_figure() -> None:
    line = summary(phases(), {}, 2, "abc")
    assert nulls(line) == set()
    assert line["null_because"] == {}
    assert line["revision"] == "abc"
    assert line["replica_rss_mb_max"] == 118.2


def test_latency_under_overload_is_told_in_that_of_the_same_run() -> None:
    assert summary(phases(), {}, 2, "abc")["p99_at_3x"] == 1.5


@pytest.mark.parametrize(("phase", "figure"), [("W0", "p99_ms"), ("overload", "admitted_p99_ms")])
def test_without_one_of_the_two_latencies_there_is_no_ratio(phase: str, figure: str) -> None:
    run = phases()
    del run[phase][figure]
    line = summary(run, {}, 2, "abc")
    assert line["p99_at_3x"] is None
    reasons = cast("dict[str, str]", line["null_because"])
    assert reasons["p99_at_3x"] == f"{phase} came to no such figure"


def test_view_changes_that_no_fault_explains_are_summed() -> None:
    assert summary(phases(), {}, 2, "abc")["view_changes_without_fault"] == 3


def test_view_changes_of_a_phase_that_did_not_tell_are_not_taken_for_none() -> None:
    run = phases()
    run["batch"]["view_changes"] = None
    line = summary(run, {}, 2, "abc")
    assert line["view_changes_without_fault"] is None
    assert "view_changes_without_fault" in cast("dict[str, str]", line["null_because"])


@pytest.mark.parametrize(
    ("replicas", "driver", "cores", "shared"),
    [(1.928, 0.017, 2, False), (0.822, 0.01, 2, True), (1.928, 0.017, 4, True)],
)
def test_a_run_that_did_not_have_the_cores_says_so(
    replicas: float, driver: float, cores: int, shared: bool
) -> None:
    run = phases()
    run["W0"] |= {"replica_cores": replicas, "driver_cores": driver}
    line = summary(run, {}, cores, "abc")
    assert line["shared"] is shared
    assert (f"of {cores} cores" in str(line.get("shared_because"))) is shared


@pytest.mark.parametrize("missing", [*phases(), None])
def test_whatever_was_not_measured_is_null_with_a_reason(missing: str | None) -> None:
    run = phases()
    if missing is None:
        run.clear()
    else:
        del run[missing]
    failures = {missing or "start": "RuntimeError: it did not answer"}
    line = summary(run, failures, 2, None)
    reasons = cast("dict[str, str]", line["null_because"])
    assert set(reasons) == nulls(line)
    assert {reasons[name] for name in nulls(line)} != {""}
    assert "revision" in reasons
    if missing is None:
        assert "start: RuntimeError" in reasons["tps"]
        assert {"replica_rss_mb_max", "view_changes_without_fault", "shared"} <= set(reasons)


def test_a_phase_that_ran_and_came_to_nothing_does_not_blame_another() -> None:
    run = phases()
    run["W0"]["p50_ms"] = None
    line = summary(run, {"idle": "no"}, 2, "abc")
    assert line["null_because"] == {"p50_ms": "W0 came to no such figure"}


@pytest.mark.parametrize(
    ("refusals", "not_applied", "told"),
    [
        ({}, {}, None),
        ({"QUEUE_FULL": 12_130}, {}, None),
        ({"QUEUE_FULL, not retried": 1}, {}, "QUEUE_FULL, not retried"),
        ({"CHAIN_UNAVAILABLE": 3}, {}, "CHAIN_UNAVAILABLE"),
        ({"QUEUE_FULL": 130}, {"PREDECESSOR_MISSING": 404}, "PREDECESSOR_MISSING"),
    ],
)
def test_only_want_of_room_that_is_tried_again_leaves_a_phase_clean(
    refusals: dict[str, int], not_applied: dict[str, int], told: str | None
) -> None:
    reason = spoilt_by({"refusals": refusals, "not_applied": not_applied})
    assert (reason is None) if told is None else (told in str(reason))


class ViewedChain:
    """Replicas whose view was other before and after; their memory is `pid` MB."""

    def __init__(self, views: Sequence[int | None], pids: Sequence[int] = (7, 9)) -> None:
        self._views = list(views)
        self.pids = list(pids)

    async def view(self) -> int | None:
        return self._views.pop(0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(watch, "memory_mb", lambda pid: (float(pid), 2.0 * pid))
    return Run(Plan(1.0, 1.0, 10, full=False))


async def test_each_phase_tells_its_view_changes_and_its_memory(run: Run) -> None:
    async def work() -> dict[str, object]:
        return {"tps": 1.0}

    await run.phase("W0", cast("Any", ViewedChain([3, 5])), work())
    assert run.figures["W0"] == {
        "tps": 1.0,
        "view_changes": 2,
        "replica_memory_mb_max": 9.0,
        "replica_file_mapped_mb_max": 18.0,
    }
    assert run.failures == {}


async def test_a_phase_that_lost_transactions_keeps_its_figures_and_fails(run: Run) -> None:
    async def work() -> dict[str, object]:
        return {"tps": 1.0, "refusals": {}, "not_applied": {"TRANSACTION_EXPIRED": 2}}

    await run.phase("W0", cast("Any", ViewedChain([0, 0])), work())
    assert run.figures["W0"]["tps"] == 1.0
    assert "TRANSACTION_EXPIRED" in run.failures["W0"]


async def test_a_phase_that_broke_off_still_tells_its_view_changes(run: Run) -> None:
    async def work() -> dict[str, object]:
        raise RuntimeError("it broke off")

    await run.phase("W0", cast("Any", ViewedChain([0, 4])), work())
    assert run.failures["W0"] == "RuntimeError: it broke off"
    assert run.figures["W0"]["view_changes"] == 4


async def test_a_phase_on_chains_of_its_own_is_kept_or_fails_as_any_other(run: Run) -> None:
    async def work() -> dict[str, object]:
        return {"cross_chain_p95_ms": 640.0, "refusals": {"CHAIN_UNAVAILABLE": 1}}

    async def breaks() -> dict[str, object]:
        raise RuntimeError("it broke off")

    await run.elsewhere("cross_chain", work())
    assert run.figures["cross_chain"]["cross_chain_p95_ms"] == 640.0
    assert "CHAIN_UNAVAILABLE" in run.failures["cross_chain"]
    await run.elsewhere("other", breaks())
    assert run.failures["other"] == "RuntimeError: it broke off"


async def test_memory_is_looked_at_while_a_phase_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SAMPLE_SECONDS", 0.0)
    chain = ViewedChain([0, 0], pids=[1])
    async with Watch(cast("Any", chain)) as watching:
        chain.pids[:] = [50]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        chain.pids[:] = [1]
    assert watching.figures()["replica_memory_mb_max"] == 50.0


@pytest.mark.parametrize(
    ("broken", "failed"),
    [
        ("start_chain", {"start": NO_PORT, "cross_chain": NO_PORT}),
        ("machine_facts", {"run": NO_ROOM}),
        ("report", {"start": NO_PORT, "cross_chain": NO_PORT, "run": NO_ROOM}),
    ],
)
def test_the_last_line_is_json_whatever_breaks(
    broken: str,
    failed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def no_start(*_: object, **__: object) -> None:
        raise RuntimeError("no port is free")

    def no(*_: object, **__: object) -> None:
        raise OSError("no room on the disk")

    monkeypatch.setattr(bench_main, "start_chain", no_start)
    monkeypatch.setattr(bench_main, "cross_chain", no_start)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    if broken == "machine_facts":
        monkeypatch.setattr(bench_main, "machine_facts", no)
    if broken == "report":
        monkeypatch.setattr(report, "keep", no)
    monkeypatch.setattr("sys.argv", ["bench", "--no-readme"])
    with pytest.raises(SystemExit) as ended:
        bench_main.main()
    assert ended.value.code == 1
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["tps"] is None
    assert set(line["null_because"]) >= nulls(line)
    assert line["failures"] == failed


def test_overload_is_offered_for_the_minute_that_was_asked_for() -> None:
    assert OVERLOAD_SECONDS == 60.0


def test_a_revision_is_told_of_a_work_tree_and_nothing_outside_of_one(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "file").write_text("1")
    author = ("-c", "user.name=t", "-c", "user.email=t@t.invalid")
    for command in (("init", "-q"), ("add", "file"), (*author, "commit", "-qm", "one")):
        subprocess.run(["git", *command], cwd=tree, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert revision(tree) == head
    (tree / "file").write_text("2")
    assert revision(tree) == f"{head}-dirty"
    assert revision(tree / "inner") is None
    assert revision(tmp_path) is None
