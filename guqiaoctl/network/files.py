"""Files of a network folder, written so that none is ever there in part."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao_sdk.files import write_beside

PUBLIC: Final = 0o644
SECRET: Final = 0o600


def write_file(path: Path, content: bytes, mode: int = PUBLIC) -> None:
    """The file has its old content or the whole new one, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_beside(path, content, mode).replace(path)
