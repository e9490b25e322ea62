"""`python -m services.enablement serve --config FILE`; what an operator does about its database."""

from __future__ import annotations

from services.chassis.rebuild_cli import add_rebuild
from services.chassis.service_cli import service_cli
from services.enablement.app import MIGRATIONS, SERVICE, serve
from services.enablement.consumers import READ_MODEL
from services.enablement.settings import Settings

app = service_cli(Settings, SERVICE, serve)
add_rebuild(app, Settings, SERVICE, migrations=MIGRATIONS, read_model=READ_MODEL)

if __name__ == "__main__":
    app()
