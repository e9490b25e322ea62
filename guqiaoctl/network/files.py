"""Files of a network folder, written so that none is ever there in part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PUBLIC: Final = 0o644
SECRET: Final = 0o600


def write_file(path: Path, content: bytes, mode: int = PUBLIC) -> None:
    """The file has its old content or the whole new one, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
