"""Where a command's result goes: a file that is replaced by a whole result or stays as it was, or a
place that is written to as it is, such as a pipe, a device or standard output.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Final, TextIO, TypeAlias

from guqiaoctl.failures import (
    EXIT_DENIED,
    EXIT_NOT_FOUND,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.output import Progress, choose

STANDARD_OUTPUT: Final = Path("-")
_STDOUT: Final = 1
_STDERR: Final = 2
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

Write: TypeAlias = Callable[[bytes], object]

_ELSEWHERE: Final = ("name another file", "请另指定文件")
_CAUSES: Final = {
    errno.ENOENT: (
        ("there is no folder {folder}", "没有目录 {folder}"),
        ("make that folder, or name another file", "请先创建该目录，或另指定文件"),
        EXIT_NOT_FOUND,
    ),
    errno.ENOTDIR: (
        ("{folder} is no folder", "{folder} 不是目录"),
        _ELSEWHERE,
        EXIT_USAGE,
    ),
    errno.EISDIR: (
        ("it is a folder", "它是目录"),
        ("name a file, for example one in it", "请指定文件，例如该目录中的文件"),
        EXIT_USAGE,
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        (
            ("writing it in {folder} is not permitted", "没有在目录 {folder} 中写入的权限"),
            (
                "name a file in a folder that you may write to",
                "请指定有写权限的目录中的文件",
            ),
            EXIT_DENIED,
        ),
    ),
    **dict.fromkeys(
        (errno.ELOOP, errno.ENAMETOOLONG),
        (("{reason}", "{reason}"), _ELSEWHERE, EXIT_USAGE),
    ),
}
_OTHER_CAUSE: Final = (("{reason}", "{reason}"), _ELSEWHERE, EXIT_UNAVAILABLE)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def whole_file(path: Path | None) -> Iterator[Write]:
    """Where a command's result goes: None for nowhere, `-` for standard output.

    A place that cannot be written is refused before anything is done, by a `CliError` that names
    `path`. A file, also one that a link leads to, is replaced only by a whole result.
    """
    if path is None:
        yield lambda content: None
    elif (stream := _stream(path)) is not None:
        sys.stdout.flush()
        with _in_place(path, stream) as write:
            yield write
    elif _is_file_or_missing(path):
        with _replacing(path, Path(os.path.realpath(path))) as write:
            yield write
    else:
        with _in_place(path, path) as write:
            yield write


def beside(path: Path | None) -> TextIO:
    """Where a command prints what comes beside its result: not into it."""
    mixes = path is not None and _stream(path) == _STDOUT
    return sys.stderr if mixes else sys.stdout


def _stream(path: Path) -> int | None:
    """The stream of this process that the path leads to, whatever that is now: a file that output
    is appended to must not be replaced.
    """
    if path == STANDARD_OUTPUT:
        return _STDOUT
    for stream in (_STDOUT, _STDERR):
        try:
            if os.path.samestat(path.stat(), os.fstat(stream)):
                return stream
        except OSError:
            continue  # One of the two is not there.
    return None


def _is_file_or_missing(path: Path) -> bool:
    """Whether a whole result may take its place; raises `CliError` for a folder."""
    with _naming(path):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return stat.S_ISREG(mode)


@contextmanager
def _in_place(path: Path, place: Path | int) -> Iterator[Write]:
    with _naming(path), Progress(choose(f"opening {path}", f"打开 {path}")):
        # A pipe opens once somebody reads it.
        file = open(place, "wb", buffering=0, closefd=place is path)  # noqa: SIM115

    with file:
        yield lambda content: _write_all(file, content, path)


@contextmanager
def _replacing(path: Path, target: Path) -> Iterator[Write]:
    """Write to a new file beside the target and put it in place in one step."""
    part = target.with_name(f".guqiao-{secrets.token_hex(8)}.part")
    with _naming(path):
        descriptor = os.open(part, _FRESH, 0o666)

    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield lambda content: _write_all(file, content, path)
            with _naming(path):
                os.fsync(descriptor)
        with _naming(path):
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _write_all(file: FileIO, content: bytes, path: Path) -> None:
    left = memoryview(content)
    with _naming(path):
        while left:
            left = left[file.write(left) :]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What the system says on the way is about the file that the user named."""
    try:
        yield
    except BrokenPipeError:
        raise  # Whoever read it went away.
    except OSError as error:
        if error.errno in _FULL:
            error.filename = str(path)
            raise
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> CliError:
    texts, remedies, exit_code = _CAUSES.get(error.errno or 0, _OTHER_CAUSE)
    folder = Path(os.path.realpath(path)).parent
    if error.errno == errno.ENOENT and folder.is_dir():  # Such as /proc, which takes no files.
        texts, remedies, exit_code = _OTHER_CAUSE
    english, chinese = (
        text.format(folder=folder, reason=error.strerror or error) for text in texts
    )
    return CliError(
        "FILE_UNWRITABLE",
        f"{path} cannot be written: {english}",
        f"无法写入 {path}：{chinese}",
        *remedies,
        exit_code=exit_code,
    )
