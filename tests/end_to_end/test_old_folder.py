"""A network that ran two years ago and not since: it starts, says what it renewed, and goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.demo.anchors import count_anchored
from guqiaoctl.demo.checks import wait_anchored, wait_equal_roots
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.parties import CHAINS
from tests.end_to_end.harness import BASIC, BASIC_ANCHORED, ROOT, OneMachine, environment
from tests.plugins.memory_disk import sweep

pytestmark = [pytest.mark.end_to_end, pytest.mark.first_steps]
EVENTS_THEN = 120


@dataclass(frozen=True, slots=True)
class LongAgo:
    """Commands as they would have run 730 days ago: every clock of every process is behind."""

    faketime: str
    machine: OneMachine

    def must(self, *arguments: object) -> None:
        then = [self.faketime, "-f", "-730d"]
        command = [sys.executable, "-m", "guqiaoctl", *map(str, arguments)]
        done = subprocess.run(
            [*then, *command, "--data", str(self.machine.folder)],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def long_ago(tmp_path: Path) -> Iterator[LongAgo]:
    program = shutil.which("faketime")
    if program is None:
        pytest.skip("there is no faketime here: no process can be started in another year")
    machine = OneMachine(tmp_path / "network")
    try:
        yield LongAgo(program, machine)
    finally:
        machine.close()
        sweep()  # What libfaketime shared among processes that were killed.


@pytest.mark.req("G2-09-4", "G2-13-2")
async def test_a_network_of_two_years_ago_starts_again_and_takes_the_rest_of_an_import(
    long_ago: LongAgo, tmp_path: Path
) -> None:
    machine, part = long_ago.machine, tmp_path / "part"
    shutil.copytree(BASIC, part)
    events = (BASIC / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (part / "events.jsonl").write_text("".join(events[:EVENTS_THEN]), encoding="utf-8")
    long_ago.must("dev", "up", "--detach")
    long_ago.must("import", part)
    long_ago.must("dev", "down")

    said = machine.up().err
    assert re.search(
        r"\b14 certificates were due or of no use, and have been renewed",
        said,
    )
    for chain in CHAINS:
        assert f"the revocation list of {chain} was stale and has been issued anew" in said
    machine.wait_ready()
    results = tmp_path / "results.csv"
    machine.must("import", BASIC, "--results", results)
    assert results.read_bytes() == (BASIC / "expected" / "results.csv").read_bytes()
    provider = open_provider()
    await wait_anchored(machine.network, provider, BASIC_ANCHORED)
    assert await count_anchored(machine.network, provider) == BASIC_ANCHORED
    for chain, role in zip(CHAINS, ("supervisor", "maker"), strict=True):
        caller = open_identity(machine.network, provider, chain, role)
        async with open_chain(machine.network, provider, chain, caller) as client:
            await wait_equal_roots(client)
    assert machine.must("register", "roster").out == (
        (BASIC / "expected" / "roster.csv").read_text(encoding="utf-8")
    )
