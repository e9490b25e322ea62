"""`python -m services.registry serve --config FILE`."""

from __future__ import annotations

from services.chassis.service_cli import service_cli
from services.registry.app import SERVICE, serve
from services.registry.settings import Settings

if __name__ == "__main__":
    service_cli(Settings, SERVICE, serve)()
