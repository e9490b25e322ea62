"""One-machine networks for tests, driven as a user drives them: through the `guqiao` command.

Every wait is for a condition and bounded. What a test starts ends with it: processes are found by
the network's folder, which is in their command line, and ended by pid.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiaoctl.network.layout import Network, load_network
from tests.end_to_end.command import run_command

ROOT: Final = Path(__file__).parents[2]
BASIC: Final = ROOT / "data" / "market-basic"
BASIC_ANCHORED: Final = 137
"""Data objects of market-basic: its accepted events less the retries among them."""
TINY: Final = ROOT / "data" / "market-tiny"
COMMAND_SECONDS_MAX: Final = 300.0
WAIT_SECONDS_MAX: Final = 180.0
POLL_SECONDS: Final = 0.1
PROGRESS: Final = re.compile(r"  .+ \(\d+ (?:s|秒)\)")


def environment(language: str = "en") -> dict[str, str]:
    """The tests' own environment, with the user's language."""
    path = f"{ROOT}{os.pathsep}{ROOT / 'gen'}"
    return {**os.environ, "PYTHONPATH": path, "GUQIAO_LANG": language, "COLUMNS": "200"}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Standard error without the progress, of which a slow machine brings about more."""
        lines = self.err.splitlines()
        return "\n".join(line for line in lines if not PROGRESS.fullmatch(line))

    @property
    def error(self) -> str:
        """The code that begins the last line on standard error."""
        lines = self.err.strip().splitlines()
        return lines[-1].partition(":")[0].partition("：")[0] if lines else ""

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def guqiao(
    *arguments: object, language: str = "en", cwd: Path | None = None, folder: Path | None = None
) -> Answer:
    """Run one command; `folder` is the network's."""
    options = [] if folder is None else ["--data", str(folder)]
    code, out, err = run_command(
        [*map(str, arguments), *options], environment(language), cwd or ROOT, COMMAND_SECONDS_MAX
    )
    return Answer(code, out, err)


def wait_until(what: str, condition: Callable[[], bool], seconds: float = WAIT_SECONDS_MAX) -> None:
    """Wait for a condition, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class OneMachine:
    """A network folder and the commands upon it."""

    folder: Path

    @property
    def network(self) -> Network:
        """The network as its file tells."""
        return load_network(self.folder)

    def run(self, *arguments: object, language: str = "en") -> Answer:
        """Run a command on this network."""
        return guqiao(*arguments, language=language, folder=self.folder)

    def must(self, *arguments: object, language: str = "en") -> Answer:
        """Run a command that must succeed."""
        answer = self.run(*arguments, language=language)
        assert answer.code == 0, (arguments, answer.err[-3000:], self.supervisor_log())
        return answer

    def up(self, *options: str, language: str = "en") -> Answer:
        """Start the network and return when all is ready."""
        return self.must("dev", "up", "--detach", *options, language=language)

    def status(self) -> dict[str, Any]:
        """What the supervisor says."""
        found: dict[str, Any] = self.must("dev", "status", "-o", "json").json()
        return found

    def states(self) -> dict[str, str]:
        """The state of every process."""
        return {process["name"]: process["state"] for process in self.status()["processes"]}

    def pid(self, name: str) -> int | None:
        """The process id of one process while it runs."""
        found = next(p for p in self.status()["processes"] if p["name"] == name)
        return None if found["pid"] is None else int(found["pid"])

    def postgres_pid(self) -> int:
        """The process id of the database server."""
        lines = (self.folder / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()
        return int(lines[0])

    def wait_ready(self) -> None:
        """Until every process is ready."""
        wait_until("all ready", lambda: set(self.states().values()) == {"ready"})

    def processes(self) -> dict[int, str]:
        """Every process that names this folder, by pid."""
        listing = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(maxsplit=1) for line in listing.splitlines() if str(self.folder) in line]
        return {int(pid): args for pid, args in rows if not args.startswith("ps -ww")}

    def wait_nothing_left(self) -> None:
        """Until no process of this network lives."""
        wait_until("no process left", lambda: not self.processes())

    def supervisor_log(self) -> str:
        """What the supervisor wrote last."""
        path = self.folder / "run" / "supervisor.log"
        return path.read_text(errors="replace")[-3_000:] if path.exists() else ""

    def close(self) -> None:
        """End everything, whatever state it is in."""
        if (self.folder / "run" / "control.json").exists():
            self.run("dev", "down")
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
