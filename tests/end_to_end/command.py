"""`guqiao` commands for tests, without the second of imports that each interpreter costs.

Every command runs in a process of its own, with the arguments, environment, folder and output files
that a shell would give it; it is forked from a server that has imported the libraries already.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from guqiaoctl import commands

_IMPORTED: Final = (
    "guqiaoctl.__main__",
    *(f"{commands.__name__}.{each.name}" for each in pkgutil.iter_modules(commands.__path__)),
    "pydantic",
    "pydantic.plugin._loader",
    "pytest",
    "tests.end_to_end.command",
    "typer._adapters",
    "typer._click.decorators",
)
"""What commands and the fork import; what is not there any more costs time, nothing else."""

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([*_IMPORTED])


def run_command(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path, seconds_max: float
) -> tuple[int, str, str]:
    """The exit code and both outputs of one command, which must end in time."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        process = _FORKS.Process(
            target=_become, args=([*arguments], dict(environment), str(cwd), *files)
        )
        process.start()
        process.join(seconds_max)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"guqiao {' '.join(arguments)}: not within {seconds_max:.0f} s")
        return process.exitcode, _text(out), _text(err)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _become(
    arguments: list[str], environment: dict[str, str], cwd: str, out: str, err: str
) -> None:
    """In the fork: what `python -m guqiaoctl` does."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for target, file in ((1, out), (2, err)):
        written = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(written, target)
        os.close(written)
    sys.argv = ["guqiao", *arguments]
    from guqiaoctl.__main__ import main

    main()
