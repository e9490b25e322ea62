"""Where a command's result is a folder: it appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from guqiaoctl.failures import EXIT_CONFLICT, EXIT_UNAVAILABLE, CliError


def write_whole_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Put files by name into a new folder, durably and in one step. Raises `CliError` where the
    place is taken, by anything but an empty folder, or cannot be written.
    """
    part = path.with_name(f".guqiao-{secrets.token_hex(8)}.part")
    try:
        part.mkdir()
        try:
            for name, content in files.items():
                _write_durably(part / name, content)
            _sync_folder(part)
            part.rename(path)
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def is_taken(path: Path) -> bool:
    """Whether something stands there that a result must not replace."""
    try:
        return any(path.iterdir())
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    except OSError as error:
        raise _unwritable(path, error) from error


def taken(path: Path) -> CliError:
    """Why a result is not written: what stands there is not replaced."""
    return CliError(
        "FILE_UNWRITABLE",
        f"{path} is there already and holds something else",
        f"{path} 已存在，且内容不同",
        "name another folder, or move that one away",
        "请另指定目录，或移走原目录",
        exit_code=EXIT_CONFLICT,
    )


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> CliError:
    reason = error.strerror or str(error)
    return CliError(
        "FILE_UNWRITABLE",
        f"{path} cannot be written: {reason}",
        f"无法写入 {path}：{reason}",
        "name a folder that may be made where you name it",
        "请指定可以创建的目录",
        exit_code=EXIT_UNAVAILABLE,
    )
