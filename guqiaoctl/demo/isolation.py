"""Runs a command in a process that can reach no network.

A network namespace without interfaces where the system grants one; elsewhere Python's audit hooks
refuse every socket before it is made. Which of the two was used is returned, never guessed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Final

TIMEOUT_SECONDS: Final = 60.0
_REFUSE_SOCKETS: Final = """
import runpy, sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise PermissionError("this process has no network")
sys.addaudithook(refuse)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run_without_network(command: list[str]) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run `python -m module ...`; returns the finished process and how it was cut off."""
    unshare = _unshare()
    if unshare is not None:
        return _run([*unshare, *command]), "network namespace without interfaces"
    assert command[1] == "-m", "a Python module is run"
    return _run([sys.executable, "-c", _REFUSE_SOCKETS, *command[2:]]), "sockets refused"


def _unshare() -> list[str] | None:
    """The prefix that gives an empty network namespace, if this user may have one."""
    program = shutil.which("unshare")
    if program is None:
        return None
    for options in (["-n"], ["-r", "-n"]):
        if _run([program, *options, "true"]).returncode == 0:
            return [program, *options]
    return None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own commands
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
