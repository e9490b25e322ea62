"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_beside(path: Path, content: bytes, mode: int) -> Path:
    """Write `content` durably to a file beside `path`; the caller puts it in place in one step."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return new
