"""A full disk: replicas stop voting, and all goes on when there is room again; nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.harness import ROOT, environment

pytestmark = [pytest.mark.end_to_end, pytest.mark.crash]
PLAY_SECONDS_MAX = 190.0


def own_mounts() -> list[str]:
    """The command that gives a process mounts of its own, as this user may."""
    program = shutil.which("unshare")
    for options in (["-m"], ["-r", "-m"]):
        if program is None:
            break
        trial = [program, *options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return [program, *options]
    pytest.skip("this user may not mount a file system: no disk can be filled here")


@pytest.mark.req("G2-13-2")
def test_a_full_disk_stops_the_votes_and_an_empty_one_brings_everything_back(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    played = subprocess.run(
        [*own_mounts(), sys.executable, "-m", "tests.end_to_end.full_disk", str(disk)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PLAY_SECONDS_MAX,
        check=False,
    )
    assert played.returncode == 0, played.stderr[-4000:]
    said = json.loads(played.stdout.splitlines()[-1])
    assert said == {
        "refused": "DISK_FULL",
        "start": [6, "DISK_FULL"],
        "away": [6, "DATABASE_UNAVAILABLE"],
    }
