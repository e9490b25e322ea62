"""A replica as released that says each second, in a file beside its settings, how many tasks its
event loop has: `python -m tests.endurance.soaked_replica serve --config FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Final

from services.chassis.endings import run_to_the_end
from services.chassis.logging import configure_logging
from services.chassis.settings import load_settings
from services.chassis.supervised import die_with_parent
from services.consensus.app import serve
from services.consensus.settings import Settings

TOLD_EVERY_SECONDS: Final = 1.0


def tasks_file(config: Path) -> Path:
    """Where a replica with these settings says it."""
    return config.with_suffix(".tasks")


async def _serve(settings: Settings, told: Path) -> None:
    telling = asyncio.create_task(_tell(told))
    try:
        await serve(settings)
    finally:
        telling.cancel()


async def _tell(told: Path) -> None:
    while True:
        written = told.with_suffix(".new")
        written.write_text(str(len(asyncio.all_tasks())))
        written.replace(told)
        await asyncio.sleep(TOLD_EVERY_SECONDS)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--config", type=Path, required=True)
    die_with_parent()
    config = parser.parse_args().config
    settings = load_settings(Settings, config)
    configure_logging(domain=settings.domain, service="consensus", level="WARNING")
    run_to_the_end(lambda: _serve(settings, tasks_file(config)), "consensus")


if __name__ == "__main__":
    main()
