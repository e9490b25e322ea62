"""Command line of a replica: `python -m services.consensus serve --config FILE`.

A start that is refused says why in one line on standard error and ends with 2 (settings, genesis,
keys), 5 (the data folder is in use or of another network) or 6 (a port or the disk).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from services.chassis.endings import (
    EXIT_CONFLICT,
    EXIT_FAILED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    Ending,
    end_for,
    run_to_the_end,
)
from services.chassis.logging import configure_logging
from services.chassis.settings import SettingsError, load_settings
from services.chassis.supervised import die_with_parent
from services.consensus.app import serve as serve_replica
from services.consensus.domain.ledger.genesis import GenesisError
from services.consensus.settings import Settings
from services.consensus.store import (
    DataFolderInUseError,
    DiskFullError,
    IndexFullError,
    OtherNetworkError,
    SegmentArchivedError,
    StorageError,
)

_ENDINGS: Final = (
    Ending((GenesisError,), "GENESIS_INVALID", EXIT_USAGE),
    Ending((DataFolderInUseError, OtherNetworkError), "DATA_FOLDER_IN_USE", EXIT_CONFLICT),
    Ending((DiskFullError,), "DISK_FULL", EXIT_UNAVAILABLE),
    Ending((IndexFullError,), "INDEX_FULL", EXIT_UNAVAILABLE),
    Ending((SegmentArchivedError,), "SEGMENT_ARCHIVED", EXIT_UNAVAILABLE),
    Ending((StorageError,), "STORAGE_FAILED", EXIT_FAILED),
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
    except SettingsError as error:
        end_for(error, "consensus")
    configure_logging(
        domain=settings.domain, service="consensus", level=settings.telemetry.log_level
    )
    run_to_the_end(lambda: serve_replica(settings), "consensus", _ENDINGS)


if __name__ == "__main__":
    app()
