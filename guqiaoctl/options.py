"""Options that several commands share, and the forms in which they print."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_DATA = Path(".guqiao")
SENDER: Final = "did:rem:local:maker"
TIME: Final = "2026-01-05T10:00:00+08:00"
"""Who signs a call on this machine, and when, where nobody says."""
GAS_DEFAULT: Final = 10_000_000
GAS_MAX: Final = 10_000_000_000
"""More would be hours."""
HEIGHT_MAX: Final = 2**63 - 1


class Format(StrEnum):
    """Output formats."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Shown(StrEnum):
    """Output formats of what is no table of rows."""

    TABLE = "table"
    JSON = "json"


HEARTBEAT_SECONDS_MAX: Final = 3_600
Heartbeat = Annotated[
    int | None,
    typer.Option(
        "--heartbeat",
        min=1,
        max=HEARTBEAT_SECONDS_MAX,
        help="Of a new network: an empty block after so many idle seconds, 60 in production (5) "
        "新网络的空闲出块间隔（秒），生产环境为 60",
    ),
]
Data = Annotated[Path, typer.Option("--data", help="The network's folder 网络目录")]
Output = Annotated[Shown, typer.Option("-o", "--output", help="Output format 输出格式")]
