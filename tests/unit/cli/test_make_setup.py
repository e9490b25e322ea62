"""`make setup` makes good what an earlier one left undone, and says what it does meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tree whose lock file asks for nothing, so that no package index is needed."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text("# nothing\n")
    (tmp_path / "protos").mkdir()
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", f"PYTHON={sys.executable}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def without_pip(folder: Path) -> None:
    """Cut off while pip was put in."""
    for path in (folder / ".venv").glob("lib/*/site-packages/pip*"):
        shutil.rmtree(path)


def without_programs(folder: Path) -> None:
    shutil.rmtree(folder / ".venv/bin")


def half_a_pip(folder: Path) -> None:
    """`pip --version` would still work."""
    (folder / ".venv/.created").unlink()
    for path in (folder / ".venv").glob("lib/*/site-packages/pip/_internal/operations"):
        shutil.rmtree(path)


@pytest.mark.first_steps
@pytest.mark.parametrize("damage", [without_pip, without_programs, half_a_pip])
def test_an_environment_whose_making_was_cut_off_is_made_anew(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    first = make(folder, ".venv/.runtime")
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert "installing the pinned packages" in first.stderr
    (folder / ".venv/.runtime").unlink()
    damage(folder)
    again = make(folder, ".venv/.runtime")
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    assert "up to date" in make(folder, ".venv/.runtime").stdout


def test_what_takes_its_time_says_so_and_keeps_its_exit_code(folder: Path) -> None:
    (folder / "slow.mk").write_text(
        "include Makefile\nslow:\n\t@$(TELL) \"baking\" sh -c 'echo bread; sleep 2.5; exit 3'\n"
    )
    done = make(folder, "-f", "slow.mk", "slow")
    assert (done.returncode, done.stdout) == (2, "bread\n")
    assert "  baking (" in done.stderr
    assert "Error 3" in done.stderr
