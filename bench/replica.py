"""A replica as released, with the benchmark's table among its contracts.

python -m bench.replica serve --config FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.table_contract import Table
from services.chassis.endings import run_to_the_end
from services.chassis.logging import configure_logging
from services.chassis.settings import load_settings
from services.chassis.supervised import die_with_parent
from services.consensus.app import serve
from services.consensus.domain.contracts.catalogue import standard_catalogue
from services.consensus.settings import Settings


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--config", type=Path, required=True)
    die_with_parent()
    settings = load_settings(Settings, parser.parse_args().config)
    configure_logging(domain=settings.domain, service="consensus", level="WARNING")
    contracts = standard_catalogue().plus(Table())
    run_to_the_end(lambda: serve(settings, contracts), "consensus")


if __name__ == "__main__":
    main()
