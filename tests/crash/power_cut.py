"""Campaign: the power goes (T-11), by shutting down a loop-mounted ext4 without writing its log.

What was synced is there after mounting again, what was not is gone, and the process meets EIO.
Every other cut falls into the start after the cut before. It needs root, loop devices and
mkfs.ext4; where one is missing the campaign says so and is no pass. The mount and the image are
removed whatever happens.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.consensus.store.files import SYSTEM_FILES, FileOperations
from tests.crash.checking import check_folder, log_durably
from tests.crash.writer import EXIT_STORAGE, Acknowledged, fork, write_chain

IMAGE_BYTES: Final = 64 * 1024 * 1024
SHUTDOWN: Final = 0x8004587D  # EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH: Final = 2
OTHER_BOOT: Final = "00000000-0000-0000-0000-000000000000"
"""What the machine is called that comes up again."""
LINES_MAX: Final = 40
START_SPIN_MAX: Final = 1_500_000


def why_not() -> str | None:
    """Why the machine does not allow it, or None."""
    if os.geteuid() != 0:
        return "it needs root"
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    return None if Path("/dev/loop-control").exists() else "there are no loop devices"


def run(folder: Path, *, cuts: int, seed: int) -> dict[str, int]:
    """Cut the power so often; raises `AssertionError` where anything acknowledged is wrong."""
    chance = random.Random(seed)
    image, mounted = folder / "disk.img", folder / "disk"
    make_image(image, IMAGE_BYTES)
    mounted.mkdir()
    acknowledged, counts = Acknowledged(), {"power cuts": 0, "power cuts before ready": 0}
    for number in range(cuts):
        with _mounted(image, mounted):
            # The first cut into a start comes at once: on any machine one falls there.
            spin = chance.randint(0, START_SPIN_MAX) if number > 1 else 0
            cut_after = 0 if number % 2 else chance.randint(2, LINES_MAX)
            _cut_once(mounted, acknowledged, spin, cut_after, folder / "acknowledged.log")
        counts["power cuts"] += 1
        counts["power cuts before ready"] += not acknowledged.is_ready
        with _mounted(image, mounted):
            session = mounted / "data" / "session"
            if session.exists():
                session.write_text(OTHER_BOOT)
            check_folder(mounted / "data", acknowledged)
    return {**counts, "acknowledged": len(acknowledged.headers)}


def make_image(image: Path, size: int) -> None:
    """An empty ext4 of so many bytes in a file."""
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)


def mount(image: Path, place: Path) -> None:
    """Put the image in place."""
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)


def unmount(place: Path) -> None:
    """Take it away; what was shut down before loses all that was not synced."""
    subprocess.run(["umount", str(place)], check=True)


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[None]:
    mount(image, place)
    try:
        yield
    finally:
        unmount(place)


def _cut_once(
    mounted: Path, acknowledged: Acknowledged, spin: int, cut_after: int, log: Path
) -> None:
    """After so many lines; 0: in the start, after a busy wait of `spin` turns."""
    going = mmap.mmap(-1, 1)  # Shared with the child: 1 once the power goes.
    child = fork(lambda say: _write_while_powered(mounted / "data", say, going))
    acknowledged.is_ready, last = False, ""
    with os.fdopen(child.lines) as lines:
        if cut_after == 0:
            for _ in range(spin):
                pass
            going[0] = 1
            shut_down(mounted)
        for number, line in enumerate(lines, 1):
            acknowledged.take(line)
            last = line.rstrip()
            log_durably(log, line.rstrip())
            if number == cut_after:
                going[0] = 1
                shut_down(mounted)
    status = os.waitstatus_to_exitcode(child.wait())
    assert status in (EXIT_STORAGE, -7), f"the process went on without a disk: {status}, {last}"


def _write_while_powered(data: Path, say: Callable[[str], None], going: mmap.mmap) -> None:
    """Here the process outlives the power. An fsync that was under way when it went may return
    although what it wrote is gone: a machine without power would have said nothing, nor does this.
    An fsync that raises changes nothing: whoever speaks all the same is heard.
    """
    overtaken = False

    def fsync(descriptor: int) -> None:
        nonlocal overtaken
        overtaken = False
        SYSTEM_FILES.fsync(descriptor)
        overtaken = going[0] == 1

    def say_unless_overtaken(line: str) -> None:
        if not overtaken:
            say(line)

    write_chain(data, say_unless_overtaken, files=FileOperations(fsync=fsync), blocks=None)


def shut_down(mounted: Path) -> None:
    """From now on nothing reaches the disk, and what is on its way there is lost."""
    descriptor = os.open(mounted, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
    finally:
        os.close(descriptor)
