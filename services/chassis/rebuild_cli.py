"""`rebuild-projection` of the services whose read model is a function of their chain's blocks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.provider import open_provider
from services.chassis.block_feed.rebuild import (
    ComparedTable,
    Comparison,
    ReadModel,
    RebuildRunningError,
    rebuild,
)
from services.chassis.endings import EXIT_CONFLICT, Ending
from services.chassis.errors import FailedPreconditionError
from services.chassis.postgres import DatabaseOwner, claim_database
from services.chassis.runtime import (
    ChainServiceSettings,
    chain_client,
    load_identity,
    open_database,
)
from services.chassis.service_cli import Config, run_with

REPLACE_HELP: Final = "Show what was built from now on, where it differs from what was shown"
PROGRESS_SECONDS: Final = 2.0
CONNECTIONS: Final = 2
"""One builds, one reads what is shown."""


S = TypeVar("S", bound=ChainServiceSettings)


class ProjectionDiffersError(FailedPreconditionError):
    """What is shown is not what the chain's blocks make."""

    def __init__(self, height: int, tables: str) -> None:
        super().__init__("PROJECTION_DIFFERS", height=height, tables=tables)


_ENDINGS: Final = tuple(
    Ending((error,), code, EXIT_CONFLICT)
    for error, code in (
        (RebuildRunningError, "PROJECTION_REBUILD_RUNNING"),
        (ProjectionDiffersError, "PROJECTION_DIFFERS"),
    )
)


def add_rebuild(
    app: typer.Typer,
    settings_class: type[S],
    service: str,
    *,
    migrations: Path,
    read_model: ReadModel,
) -> None:
    """Give a service's command line `rebuild-projection`."""

    @app.command("rebuild-projection")
    def _rebuild(
        config: Config,
        replace: Annotated[bool, typer.Option("--replace", help=REPLACE_HELP)] = False,
    ) -> None:
        """Build the read model anew from the chain's blocks, beside the one that is shown, and
        compare both row by row. The service may run meanwhile.
        """

        async def run(settings: S) -> None:
            comparison = await _run(settings, service, migrations, read_model, replace=replace)
            _report(comparison, replaced=replace and not comparison.is_equal)

        run_with(settings_class, config, service, run, _ENDINGS)


async def _run(
    settings: ChainServiceSettings,
    service: str,
    migrations: Path,
    read_model: ReadModel,
    *,
    replace: bool,
) -> Comparison:
    provider = open_provider(settings.gm.backend)
    trust = load_chain_trust(settings.chain.trust_file)
    identity = load_identity(settings, provider)
    client = chain_client(settings, identity, trust, provider)
    room = max(CONNECTIONS, settings.postgres.connections_max)
    database = settings.postgres.model_copy(update={"connections_max": room})
    async with open_database(database) as pool, client:
        async with pool.acquire() as connection:
            await claim_database(
                connection, DatabaseOwner(service, trust.chain_id, trust.genesis_hash)
            )
        return await rebuild(
            pool,
            client,
            read_model,
            service=service,
            migrations=migrations,
            replace=replace,
            on_progress=_Progress().show,
        )


class _Progress:
    """A line on standard error now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PROGRESS_SECONDS

    def show(self, height: int, target: int) -> None:
        """Say how far it is, unless that was said just now."""
        if time.monotonic() >= self._next:
            typer.echo(f"block {height} of {target} / 区块 {height}，共 {target}", err=True)
            self._next = time.monotonic() + PROGRESS_SECONDS


def _report(comparison: Comparison, *, replaced: bool) -> None:
    """A line a table; raises `ProjectionDiffersError` where they differ still."""
    for table in comparison.tables:
        typer.echo(_line(table))
        for example in table.examples:
            typer.echo(f"  {example}")
    height, seconds = comparison.height, comparison.seconds
    typer.echo(
        f"{height} blocks, {comparison.transactions} transactions in {seconds:.1f} s"
        f" / {height} 个区块，{comparison.transactions} 笔交易，用时 {seconds:.1f} 秒",
        err=True,
    )
    if replaced:
        typer.echo("replaced / 已替换", err=True)
    elif not comparison.is_equal:
        names = ", ".join(table.name for table in comparison.tables if not table.is_equal)
        raise ProjectionDiffersError(height, names)


def _line(table: ComparedTable) -> str:
    if table.is_equal:
        return f"{table.name}  {table.rows_built} rows  {table.digest_built.hex()}  equal"
    return f"{table.name}  {table.rows_shown} rows shown, {table.rows_built} built  differ"
