"""Files that a command is given: read once, whole, and never more than is expected of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from guqiaoctl.failures import EXIT_NOT_FOUND, CliError


def read_input(path: Path, bytes_max: int) -> bytes:
    """A file's content, or what is written into a pipe, such as a shell's `<(...)`; of what is
    longer than `bytes_max`, one byte more, which tells. Raises `CliError`.
    """
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise _unreadable(path, "neither a file nor a pipe", "既不是文件也不是管道")
        with open(path, "rb", opener=_open_at_once) as file:
            content = file.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(path, reason, reason) from None
    if stat.S_ISFIFO(kind) and not content:
        raise _unreadable(path, "a pipe into which nobody writes", "没有数据写入的管道")
    return content


def read_names(folder: Path) -> list[str]:
    """The names of what is in a folder, sorted. Raises `CliError`."""
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError as error:
        reason = error.strerror or str(error)
        raise _unreadable(folder, reason, reason) from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a pipe without waiting for a writer; where there is one, reading waits for it."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _unreadable(path: Path, reason_en: str, reason_zh: str) -> CliError:
    return CliError(
        "FILE_UNREADABLE",
        f"{path} cannot be read ({reason_en})",
        f"无法读取 {path}（{reason_zh}）",
        "check the path and its permissions",
        "请检查路径和权限",
        exit_code=EXIT_NOT_FOUND,
    )
