"""`python -m services.registry serve --config FILE`; what an operator does about its database."""

from __future__ import annotations

from typing import Final

import typer

from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.provider import open_provider
from services.chassis.endings import EXIT_CONFLICT, Ending
from services.chassis.rebuild_cli import add_rebuild
from services.chassis.runtime import chain_client, load_identity, open_database
from services.chassis.service_cli import Config, run_with, service_cli
from services.registry.app import MIGRATIONS, SERVICE, serve
from services.registry.consumers import READ_MODEL
from services.registry.domain.errors import RegisterDiffersError
from services.registry.recount import recount
from services.registry.settings import Settings

_ENDINGS: Final = (Ending((RegisterDiffersError,), "REGISTER_DIFFERS", EXIT_CONFLICT),)

app = service_cli(Settings, SERVICE, serve)
add_rebuild(app, Settings, SERVICE, migrations=MIGRATIONS, read_model=READ_MODEL)


@app.command("recount")
def recount_register(config: Config) -> None:
    """Count the whole register again, and compare with what the chain proves of each product. The
    service does the same by itself.
    """
    run_with(Settings, config, SERVICE, _recount, _ENDINGS)


async def _recount(settings: Settings) -> None:
    provider = open_provider(settings.gm.backend)
    trust = load_chain_trust(settings.chain.trust_file)
    client = chain_client(settings, load_identity(settings, provider), trust, provider)
    async with open_database(settings.postgres) as pool, client:
        found = await recount(pool, client)
    for violation in found.violations:
        typer.echo(str(violation))
    if found.violations:
        raise RegisterDiffersError(found.height, len(found.violations))
    typer.echo(
        f"height {found.height}: {found.products} products add up"
        f" / 高度 {found.height}：{found.products} 个产品全部相符"
    )


if __name__ == "__main__":
    app()
