"""`python -m services.gateway serve --config FILE`; what an operator does about feed and link."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from guqiao_sdk.client.events import BLOCK_TOPIC
from services.chassis.block_feed.publisher import LOOK_SECONDS
from services.chassis.bus import open_bus
from services.chassis.endings import EXIT_NOT_FOUND, EXIT_USAGE, Ending
from services.chassis.runtime import open_database
from services.chassis.service_cli import Config, run_with, service_cli
from services.gateway import open_packets
from services.gateway.app import SERVICE, serve
from services.gateway.domain.errors import PacketNotParkedError
from services.gateway.settings import Settings

RESUME_HELP: Final = "Deliver this one again: DESTINATION/PORT/SEQUENCE"
_ENDINGS: Final = (Ending((PacketNotParkedError,), "PACKET_NOT_PARKED", EXIT_NOT_FOUND),)

app = service_cli(Settings, SERVICE, serve)


@app.command("rebuild-feed")
def rebuild_feed(config: Config) -> None:
    """Delete the blocks on the domain's bus: the publisher publishes all again from block 1, and
    projections pass over what they have. For a bus that lacks a block (PROJECTION_STUCK).
    """
    run_with(Settings, config, SERVICE, _delete_blocks)


async def _delete_blocks(settings: Settings) -> None:
    async with open_bus(settings.bus) as bus:
        await bus.delete_topic(BLOCK_TOPIC)
    typer.echo(
        f"deleted; the publisher begins again with the next block or within {LOOK_SECONDS:.0f} s"
        f" / 已删除；发布者将在下一个区块产生时或 {LOOK_SECONDS:.0f} 秒内从头重新发布",
        err=True,
    )


@app.command("parked-packets")
def parked_packets(
    config: Config, resume: Annotated[str, typer.Option(help=RESUME_HELP)] = ""
) -> None:
    """List the packets that were set aside because the other chain refused them for good, with the
    causes. What comes behind them on their port waits.
    """
    if not resume:
        run_with(Settings, config, SERVICE, _list_parked)
        return
    destination, port, sequence = (*resume.split("/"), "", "")[:3]
    if not sequence.isdecimal() or resume.count("/") != 2:
        typer.echo(f"SETTINGS_INVALID: --resume: {RESUME_HELP}, not {resume!r}", err=True)
        raise typer.Exit(EXIT_USAGE)

    async def run(settings: Settings) -> None:
        await _resume(settings, destination, port, int(sequence))

    run_with(Settings, config, SERVICE, run, _ENDINGS)


async def _list_parked(settings: Settings) -> None:
    async with open_database(settings.postgres) as pool, pool.acquire() as connection:
        parked = await open_packets.list_parked(connection)
    for packet in parked:
        typer.echo(f"{packet.name}  {' '.join(packet.cause.split())}")
    if not parked:
        typer.echo("no parked packets / 没有搁置的数据包", err=True)


async def _resume(settings: Settings, destination: str, port: str, sequence: int) -> None:
    async with open_database(settings.postgres) as pool, pool.acquire() as connection:
        found = await open_packets.resume(
            connection, destination=destination, port=port, sequence=sequence
        )
    if not found:
        raise PacketNotParkedError(destination, port, sequence)


if __name__ == "__main__":
    app()
