"""Runs numbered SQL files, forward only, one transaction a file.

Several components share a database (a service, the bus positions, the outbox), each with its own
folder and numbers. Instances that start together take turns behind an advisory lock. A file that
was changed after it ran, or that is missing, is refused: the database would not be what we think.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.postgres.errors import MigrationError
from services.chassis.postgres.pool import Connection

LOCK: Final = 0x6775_7169_616F  # "guqiao": any number that no other program here uses.
FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Of the text as it runs; a change of one space counts."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(connection: Connection, component: str, folder: Path) -> list[Migration]:
    """Bring the component's tables up to date; returns what was applied now."""
    migrations = load_migrations(folder)
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await connection.execute(_CREATE_TABLE)
        pending = _pending(component, migrations, await _applied(connection, component))
        for migration in pending:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    """
                    INSERT INTO schema_migrations (component, version, name, checksum)
                    VALUES ($1, $2, $3, $4)
                    """,
                    component,
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
        return pending
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


def load_migrations(folder: Path) -> list[Migration]:
    """The files of a folder in order. Numbers start at 1 and have no gaps."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(
                f"{path} is no migration: name it like 0001_create_accounts.sql",
                f"{path} 不是迁移文件：文件名应形如 0001_create_accounts.sql",
            )
        migrations.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    versions = [migration.version for migration in migrations]
    if not versions or versions != list(range(1, len(versions) + 1)):
        raise MigrationError(
            f"migrations in {folder} are numbered {versions}: number them 1, 2, 3 ... without gaps",
            f"{folder} 中的迁移编号为 {versions}：应从 1 起连续编号",
        )
    return migrations


_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    component  text        NOT NULL,
    version    integer     NOT NULL,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (component, version)
)
"""


async def _applied(connection: Connection, component: str) -> dict[int, tuple[str, str]]:
    rows = await connection.fetch(
        "SELECT version, name, checksum FROM schema_migrations WHERE component = $1", component
    )
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


def _pending(
    component: str, migrations: list[Migration], applied: dict[int, tuple[str, str]]
) -> list[Migration]:
    """What has not run yet, once everything that has run is found unchanged."""
    known = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in sorted(applied.items()):
        migration = known.get(version)
        if migration is None:
            raise MigrationError(
                f"{component}: the database has migration {version:04d}_{name}, the code has not: "
                "deploy code at least as new as the database",
                f"{component}：数据库已执行迁移 {version:04d}_{name}，而当前程序没有该文件："
                "请部署不早于数据库的程序版本",
            )
        if (migration.name, migration.checksum) != (name, checksum):
            raise MigrationError(
                f"{component}: migration {version:04d}_{name} was changed after it ran: restore "
                "the file and put the change into a new migration",
                f"{component}：迁移 {version:04d}_{name} 在执行后被改动：请恢复该文件，"
                "并把改动写入新的迁移",
            )
    return [migration for migration in migrations if migration.version not in applied]
