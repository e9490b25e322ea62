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

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Run a replica of a guqiao chain."""


@app.command()
def serve(config: Annotated[Path, typer.Option("--config", help="TOML file")]) -> None:
    """Serve until SIGTERM."""
    try:
        settings = load_settings(Settings, config)
        configure_logging(
            domain=settings.domain, service="consensus", level=settings.telemetry.log_level
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_replica(settings))
    except* (SettingsError, GenesisError, GmError, FileNotFoundError) as group:
        error = group.exceptions[0]
        _refuse(getattr(error, "code", "SETTINGS_INVALID"), str(error), EXIT_USAGE)
    except* (DataFolderInUseError, OtherNetworkError) as group:
        _refuse_storage(group.exceptions[0], EXIT_CONFLICT)
    except* DiskFullError as group:
        _refuse_storage(group.exceptions[0], EXIT_UNAVAILABLE)
    except* StorageError as group:
        _refuse_storage(group.exceptions[0], EXIT_FAILED)
    except* ServiceError as group:
        error = group.exceptions[0]
        _refuse(getattr(error, "code", "INTERNAL"), str(error), EXIT_UNAVAILABLE)
    except* OSError as group:
        _refuse("PORT_IN_USE", str(group.exceptions[0]), EXIT_UNAVAILABLE)


def _refuse_storage(error: BaseException, exit_code: int) -> NoReturn:
    code = getattr(error, "code", "STORAGE_FAILED")
    _refuse(code, str(error).removeprefix(f"{code}: "), exit_code)


def _refuse(code: str, text: str, exit_code: int) -> NoReturn:
    """One JSON line in the log, one plain line for people, and the exit code."""
    structlog.get_logger("consensus").critical("replica.refused", code=code, why=text)
    sys.stderr.write(f"{code}: {text}\n")
    sys.exit(exit_code)


if __name__ == "__main__":
    app()
