"""Files of a network folder, written so that none is ever there in part."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder, write_beside

PUBLIC: Final = 0o644
SECRET: Final = 0o600


def write_file(path: Path, content: bytes, mode: int = PUBLIC) -> None:
    """The file has its old content or the whole new one, whatever happens meanwhile."""
    make_folder(path.parent)
    write_beside(path, content, mode).replace(path)
