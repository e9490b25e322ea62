"""What test runs make on the memory disk goes with them, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.chain_network import ROOT
from tests.plugins.memory_disk import MEMORY_DISK, memory_folder, sweep

PROGRAM = """
import signal, sys
from tests.plugins.memory_disk import end_in_order, make_folder
end_in_order()
print(make_folder("simulation-"), flush=True)
if sys.argv[1] == "wait":
    signal.pause()
"""


POOL = """
from concurrent.futures import ProcessPoolExecutor
from signal import pause
from tests.plugins.memory_disk import end_in_order, memory_folder

def work():
    with memory_folder("crash-") as folder:
        print(folder, flush=True)
        pause()

end_in_order()
with ProcessPoolExecutor(1, initializer=end_in_order) as pool:
    pool.submit(work).result()
"""


def begun(what: str, program: str = PROGRAM) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, what], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def nobody() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("prefix", ["simulation-", "crash-"])
def test_a_folder_goes_with_its_block_also_where_it_fails(prefix: str) -> None:
    def fail(folder: Path) -> None:
        (folder / "file").touch()
        made.append(folder)
        raise ZeroDivisionError

    made = list[Path]()
    with pytest.raises(ZeroDivisionError), memory_folder(prefix) as folder:
        fail(folder)
    assert made
    assert not made[0].exists()


def test_a_folder_that_nobody_removed_goes_with_its_process() -> None:
    process, folder = begun("end")
    assert process.wait() == 0
    assert folder.parent == (MEMORY_DISK if MEMORY_DISK.is_dir() else folder.parent)
    assert not folder.exists()


def test_a_process_that_is_asked_to_end_removes_its_folder() -> None:
    process, folder = begun("wait")
    assert folder.is_dir()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert not folder.exists()


def test_who_works_for_a_process_that_is_asked_to_end_removes_its_folder() -> None:
    process, folder = begun("", POOL)
    assert folder.is_dir()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert not folder.exists()


def test_what_a_killed_process_left_is_swept_by_the_next_run() -> None:
    process, folder = begun("wait")
    assert sweep(folder.parent) >= 0
    assert folder.is_dir(), "of a process that runs"
    process.kill()
    process.wait()
    assert folder.is_dir()
    assert sweep(folder.parent) >= 1
    assert not folder.exists()


def test_only_what_is_of_dead_processes_and_ours_is_swept(tmp_path: Path) -> None:
    dead, alive = nobody(), os.getpid()
    swept = [f"faketime_shm_{dead}", f"sem.faketime_sem_{dead}", f"simulation-{dead}-ab"]
    kept = [
        *(f"faketime_shm_{alive}", f"sem.faketime_sem_{alive}", f"crash-{alive}-ab"),
        *("simulation-ab12cd", f"other_{dead}", f"faketime_shm_{dead}.old"),
    ]
    for name in (*swept, *kept):
        (tmp_path / name).touch()
    assert sweep(tmp_path) == len(swept)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(kept)
    assert sweep(tmp_path / "absent") == 0
