"""docs/first-steps.md as a reader would follow it: every block but the installation, on a network
in a folder of its own. What the reader is told to see must be seen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 400


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the reader stands; whatever still runs there is stopped afterwards."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    yield tmp_path
    if (tmp_path / ".guqiao").exists():
        run("guqiao dev down", tmp_path)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path, "GUQIAO_LANG": "en"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )


def blocks() -> list[str]:
    text = (ROOT / "docs" / "first-steps.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.end_to_end
@pytest.mark.first_steps
@pytest.mark.timeout(SECONDS_MAX + 60)
def test_the_first_steps_work_as_they_are_written(folder: Path) -> None:
    install, *walk = blocks()
    assert "make setup" in install
    done = run("\n".join(walk), folder)
    assert done.returncode == 0, done.stderr[-2_000:]
    shown = done.stdout
    assert shown.count("as expected") == 2
    assert len(re.findall(r"^accepted +140$", shown, re.MULTILINE)) == 2
    assert len(re.findall(r"^rejected +66$", shown, re.MULTILINE)) == 2
    assert re.search(r"^shandong-0 +held", shown, re.MULTILINE)
    rosters = re.findall(r"^Q900000754 +SD900011G\.EMXXXR2501 +62 +1172040 ", shown, re.MULTILINE)
    assert len(rosters) == 2, "now, and at the height of the transfer"
    assert re.search(r"^outcome +accepted$", shown, re.MULTILINE)
    assert re.search(r"^anchor +csrc height \d+$", shown, re.MULTILINE)
    assert "exit code 7" in shown
    assert "the maker's signature does not hold" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["data"]
