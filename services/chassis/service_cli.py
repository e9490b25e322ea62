"""The command line of every service beside a chain: `serve`, and `parked` for what is set aside.

A service adds commands of its own to what `service_cli` returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from services.chassis.bus import ParkedEvent, discard_parked, list_parked
from services.chassis.endings import EXIT_NOT_FOUND, Ending, end_for, run_to_the_end
from services.chassis.errors import NotFoundError
from services.chassis.logging import configure_logging
from services.chassis.runtime import DATABASE_ENDINGS, ChainServiceSettings, open_database
from services.chassis.settings import SettingsError, load_settings
from services.chassis.supervised import die_with_parent

CONFIG_HELP: Final = "TOML file"
SUPERVISED_HELP: Final = "End when the parent process is gone"


class ParkedUnknownError(NotFoundError):
    """The service has no parked event of this number."""


_ENDINGS: Final = (Ending((ParkedUnknownError,), "PARKED_EVENT_UNKNOWN", EXIT_NOT_FOUND),)

S = TypeVar("S", bound=ChainServiceSettings)
Config = Annotated[Path, typer.Option("--config", help=CONFIG_HELP)]


def service_cli(
    settings_class: type[S], service: str, serve: Callable[[S], Awaitable[None]]
) -> typer.Typer:
    """The commands `serve --config FILE` and `parked --config FILE`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.callback()
    def _root() -> None:
        """Run this service of guqiao."""

    @app.command("serve")
    def _serve(
        config: Config,
        supervised: Annotated[bool, typer.Option("--supervised", help=SUPERVISED_HELP)] = False,
    ) -> None:
        """Serve until SIGTERM."""
        if supervised:
            die_with_parent()
        run_with(settings_class, config, service, serve)

    @app.command("parked")
    def _parked(
        config: Config,
        discard: Annotated[int | None, typer.Option(help="Forget the one with this number")] = None,
    ) -> None:
        """List the events of the bus that could not be handled, with their causes."""

        async def run(settings: S) -> None:
            await (_list(settings) if discard is None else _discard(settings, discard))

        run_with(settings_class, config, service, run, _ENDINGS)

    return app


def run_with(
    settings_class: type[S],
    config: Path,
    service: str,
    run: Callable[[S], Awaitable[None]],
    endings: Sequence[Ending] = (),
) -> None:
    """Run with the settings of the file; what is wrong with them ends the process with code 2.
    `endings` are those of this command.
    """
    try:
        settings = load_settings(settings_class, config)
    except SettingsError as error:
        end_for(error, service)
    configure_logging(domain=settings.domain, service=service, level=settings.telemetry.log_level)
    run_to_the_end(lambda: run(settings), service, (*endings, *DATABASE_ENDINGS))


async def _list(settings: ChainServiceSettings) -> None:
    async with open_database(settings.postgres) as pool, pool.acquire() as connection:
        after_id = 0
        while page := await list_parked(connection, after_id=after_id):
            for event in page:
                typer.echo(_line(event))
            after_id = page[-1].parked_id
        if after_id == 0:
            typer.echo("no parked events / 没有搁置的事件", err=True)


async def _discard(settings: ChainServiceSettings, parked_id: int) -> None:
    async with open_database(settings.postgres) as pool, pool.acquire() as connection:
        if not await discard_parked(connection, parked_id):
            raise ParkedUnknownError("PARKED_EVENT_UNKNOWN", number=parked_id)


def _line(event: ParkedEvent) -> str:
    at = event.record.partition
    name = event.record.event.event_id
    return (
        f"{event.parked_id}  {event.group}  {at.topic}/{at.number}/{event.record.position}  "
        f"{name!r}  {event.attempts} attempts  {' '.join(event.cause.split())}"
    )
