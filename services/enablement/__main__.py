"""`python -m services.enablement serve --config FILE`."""

from __future__ import annotations

from services.chassis.service_cli import service_cli
from services.enablement.app import SERVICE, serve
from services.enablement.settings import Settings

if __name__ == "__main__":
    service_cli(Settings, SERVICE, serve)()
