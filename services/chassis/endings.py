"""How a process ends that may not start or cannot go on: one line, one code, one exit code.

Every service and replica uses this. A failure that is foreseen is said in one line on standard
error and once in the log, with its code and the catalogue's remedy; anything else is a bug and
keeps its traceback. Exit codes: 2 settings, keys, genesis; 3 no such thing; 5 a folder in use or of
another network; 6 something needed is away (a port, the disk, the database); 1 the storage failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.quorum import ReplicaSetError
from guqiao_sdk.rules import UnknownCodeError, messages
from services.chassis.errors import ServiceError, causes
from services.chassis.settings import SettingsError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_CONFLICT: Final = 5
EXIT_UNAVAILABLE: Final = 6
TEXT_CHARACTERS_MAX: Final = 600


@dataclass(frozen=True, slots=True)
class Ending:
    """Errors of these kinds end the process with the code (theirs, where they carry one)."""

    kinds: tuple[type[BaseException], ...]
    code: str
    exit_code: int


_COMMON: Final = (
    Ending((SettingsError, FileNotFoundError, PermissionError), "SETTINGS_INVALID", EXIT_USAGE),
    Ending((MalformedError, ReplicaSetError), "GENESIS_INVALID", EXIT_USAGE),
    Ending((GmError,), "GM_ERROR", EXIT_USAGE),
    Ending((ServiceError,), "INTERNAL", EXIT_UNAVAILABLE),
    Ending((GuqiaoError,), "CHAIN_UNAVAILABLE", EXIT_UNAVAILABLE),
)
_OF_SYSTEM: Final = {
    errno.EADDRINUSE: "PORT_IN_USE",
    errno.ENOSPC: "DISK_FULL",
    errno.EDQUOT: "DISK_FULL",
}


def run_to_the_end(
    main: Callable[[], Awaitable[None]], component: str, endings: Sequence[Ending] = ()
) -> None:
    """Run a service on uvloop; `endings` are its own, asked before those that all share."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_as_coroutine(main))
    except Exception as error:
        end_for(error, component, endings)


def end_for(error: Exception, component: str, endings: Sequence[Ending] = ()) -> NoReturn:
    """End the process for a foreseen failure; one that is not foreseen is raised again."""
    for cause in causes(error):
        found = _ending_of(cause, endings)
        if found is not None:
            _end(cause, *found, component)
    raise error


def _ending_of(cause: BaseException, endings: Sequence[Ending]) -> tuple[str, int] | None:
    for ending in (*endings, *_COMMON):
        if isinstance(cause, ending.kinds):
            return getattr(cause, "code", "") or ending.code, ending.exit_code
    if isinstance(cause, OSError) and cause.errno in _OF_SYSTEM:
        return _OF_SYSTEM[cause.errno], EXIT_UNAVAILABLE
    return None


def _end(cause: BaseException, code: str, exit_code: int, component: str) -> NoReturn:
    said = getattr(cause, "text_en", str(cause)).removeprefix(f"{code}: ")
    text = " ".join(said.split())[:TEXT_CHARACTERS_MAX]
    with contextlib.suppress(OSError):  # A full disk may have no room for these words either.
        structlog.get_logger(component).critical("process.refused", code=code, why=text)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{code}: {text or type(cause).__name__}. {_remedy(code)}\n")
    sys.exit(exit_code)


def _remedy(code: str) -> str:
    try:
        return messages(code).remedy_en
    except UnknownCodeError:
        return f"See `guqiao explain {code}`."


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()
