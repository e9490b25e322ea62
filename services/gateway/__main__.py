"""`python -m services.gateway serve --config FILE`; `rebuild-feed` fills the bus again."""

from __future__ import annotations

import typer

from guqiao_sdk.client.events import BLOCK_TOPIC
from services.chassis.block_feed.publisher import LOOK_SECONDS
from services.chassis.bus import open_bus
from services.chassis.service_cli import Config, run_with, service_cli
from services.gateway.app import SERVICE, serve
from services.gateway.settings import Settings

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


if __name__ == "__main__":
    app()
