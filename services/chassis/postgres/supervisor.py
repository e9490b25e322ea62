"""Runs one PostgreSQL program for as long as its standard input stays open, then ends it.

The launcher holds the other end of that pipe, so the program also ends when the launcher is killed:
nothing is left behind. The file is run as a script, without the virtual environment, by
`python -I -S supervisor.py IDENTITY LOCK PROGRAM ARGUMENT...`, and therefore imports only the
standard library. PostgreSQL refuses to run as root: IDENTITY says as whom it runs instead. LOCK is
the descriptor of a lock that the program holds as long as it lives, or `-`.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

NOBODY = 65534
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORPHANS_SECONDS_MAX = 3.0
ORPHANS_POLL_SECONDS = 0.05
FAST_SECONDS_MAX = 30.0
IMMEDIATE_SECONDS_MAX = 5.0
IDENTITY_FAILED = 78  # EX_CONFIG: the launcher then tries the next identity.


def main(arguments: list[str]) -> int:
    """Run the program to its end and return its exit code (128 + n for signal n)."""
    identity, lock, command = arguments[0], arguments[1], arguments[2:]
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if sys.platform == "linux":
        # What the program leaves behind becomes our child, so that it can be ended (_end_orphans).
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        program = subprocess.Popen(  # noqa: S603 - the launcher names the program
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=() if lock == "-" else (int(lock),),
            preexec_fn=lambda: _prepare(identity),
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"cannot run {command[0]} as {identity}: {error}", file=sys.stderr)  # noqa: T201
        return IDENTITY_FAILED
    _wait_for_end_or_release(program, wake_reader)
    _end(program)
    _end_orphans()
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def _prepare(identity: str) -> None:
    """In the child, between fork and exec: take the identity, and die with the supervisor."""
    if identity == "namespace":
        _enter_user_namespace()
    elif identity == "nobody":
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        # After the change of identity, which would clear it. SIGINT is a fast shutdown.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _enter_user_namespace() -> None:
    """Become nobody inside a user namespace; outside, files keep belonging to the caller."""
    user, group = os.geteuid(), os.getegid()
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")


def _wait_for_end_or_release(program: subprocess.Popen[bytes], wake_reader: int) -> None:
    """Return when the program has ended, the launcher let go, or somebody sent SIGTERM/SIGINT."""
    while program.poll() is None:
        ready, _, _ = select.select([0, wake_reader], [], [])
        if 0 in ready and not os.read(0, 1024):
            return
        if wake_reader in ready and _asked_to_stop(os.read(wake_reader, 64)):
            return


def _asked_to_stop(signals: bytes) -> bool:
    return signal.SIGTERM in signals or signal.SIGINT in signals


def _end(program: subprocess.Popen[bytes]) -> None:
    """Fast shutdown, then immediate shutdown, then SIGKILL: each with its bound."""
    for number, seconds in (
        (signal.SIGINT, FAST_SECONDS_MAX),
        (signal.SIGQUIT, IMMEDIATE_SECONDS_MAX),
        (signal.SIGKILL, None),
    ):
        if program.poll() is not None:
            return
        program.send_signal(number)
        try:
            program.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _end_orphans() -> None:
    """End the processes that the program left: one that fails to write to a full disk again and
    again never notices that its server is gone, and would hold the folder's lock.
    """
    deadline = time.monotonic() + ORPHANS_SECONDS_MAX
    while _children() and time.monotonic() < deadline:
        time.sleep(ORPHANS_POLL_SECONDS)
    for process_id in _children():
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)


def _children() -> list[int]:
    """The living children of this process; the dead ones are reaped."""
    if not Path("/proc/self/stat").exists():
        return []
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    own = [number for number in numbers if _parent_of(number) == os.getpid()]
    return [number for number in own if os.waitpid(number, os.WNOHANG) == (0, 0)]


def _parent_of(process_id: int) -> int:
    """The parent of a process, or 0 when it is gone."""
    try:
        return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
