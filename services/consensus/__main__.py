"""Command line of a replica: `python -m services.consensus serve --config FILE`.

A start that is refused says why in one line on standard error and ends with 2 (settings, genesis,
keys), 5 (the data folder is in use or of another network) or 6 (a port or the disk).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import structlog
import typer
import uvloop

from guqiao_sdk.gm.errors import GmError
from services.chassis.errors import ServiceError
from services.chassis.logging import configure_logging
from services.chassis.settings import SettingsError, load_settings
from services.chassis.supervised import die_with_parent
from services.consensus.app import serve as serve_replica
from services.consensus.domain.ledger.genesis import GenesisError
from services.consensus.settings import Settings
from services.consensus.store import (
    DataFolderInUseError,
    DiskFullError,
    OtherNetworkError,
    StorageError,
)

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFLICT: Final = 5
EXIT_UNAVAILABLE: Final = 6

_ENDS: Final[tuple[tuple[tuple[type[BaseException], ...], str, int], ...]] = (
    ((SettingsError, GenesisError, GmError, FileNotFoundError), "SETTINGS_INVALID", EXIT_USAGE),
    ((DataFolderInUseError, OtherNetworkError), "DATA_FOLDER_IN_USE", EXIT_CONFLICT),
    ((DiskFullError,), "DISK_FULL", EXIT_UNAVAILABLE),
    ((StorageError,), "STORAGE_FAILED", EXIT_FAILED),
    ((ServiceError,), "INTERNAL", EXIT_UNAVAILABLE),
    ((OSError,), "PORT_IN_USE", EXIT_UNAVAILABLE),
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Run a replica of a guqiao chain."""


@app.command()
def serve(
    config: Annotated[Path, typer.Option("--config", help="TOML file")],
    supervised: Annotated[
        bool, typer.Option("--supervised", help="End when the parent process is gone")
    ] = False,
) -> None:
    """Serve until SIGTERM."""
    if supervised:
        die_with_parent()
    try:
        settings = load_settings(Settings, config)
        configure_logging(
            domain=settings.domain, service="consensus", level=settings.telemetry.log_level
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_replica(settings))
    except Exception as error:
        _end_for(error)


def _end_for(error: Exception) -> NoReturn:
    """Say why the start was refused, or what stopped the replica; a bug keeps its traceback."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    for kinds, code, exit_code in _ENDS:
        if isinstance(cause, kinds):
            code = getattr(cause, "code", code)
            text = str(cause).removeprefix(f"{code}: ")
            structlog.get_logger("consensus").critical("replica.refused", code=code, why=text)
            sys.stderr.write(f"{code}: {text}\n")
            sys.exit(exit_code)
    raise error


if __name__ == "__main__":
    app()
