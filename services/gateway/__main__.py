"""`python -m services.gateway serve --config FILE`."""

from __future__ import annotations

from services.chassis.runtime import service_cli
from services.gateway.app import SERVICE, serve
from services.gateway.settings import Settings

if __name__ == "__main__":
    service_cli(Settings, SERVICE, serve)()
