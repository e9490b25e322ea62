"""`guqiao verify` reads files and pipes; whatever cannot give a bundle is refused at once."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from guqiao_sdk.proof.trust import TRUST_BYTES_MAX
from guqiaoctl.commands.verifying import verify
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_USAGE, CliError

WRITER_SECONDS_MAX = 60


def refusal(trust: Path, bundle: Path = Path("unused")) -> CliError:
    with pytest.raises(CliError) as refused:
        verify(bundle, trust, as_json=True)
    return refused.value


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(
    ("make", "english", "chinese"),
    [
        (os.mkfifo, "a pipe into which nobody writes", "没有数据写入的管道"),
        (Path.mkdir, "neither a file nor a pipe", "既不是文件也不是管道"),
        (_socket, "neither a file nor a pipe", "既不是文件也不是管道"),
        (lambda path: path.symlink_to("/dev/zero"), "neither a file nor a pipe", "既不是文件"),
    ],
)
def test_what_gives_no_content_is_refused_at_once(
    make: Callable[[Path], None],
    english: str,
    chinese: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket has to be short.
    make(Path("trust"))
    failure = refusal(Path("trust"))
    assert (failure.code, failure.exit_code) == ("FILE_UNREADABLE", EXIT_NOT_FOUND)
    assert english in failure.texts["en"][0]
    assert chinese in failure.texts["zh"][0]


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files as Linux has them")
def test_a_pipe_is_read_to_its_end_however_late_its_writer() -> None:
    """As a shell's `<(...)` gives it: more than a pipe holds, and the end after the opening."""
    reading, writing = os.pipe()
    content = b"[" + b" " * (1 << 20) + b"]"

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(content[:100])
            file.flush()
            file.write(content[100:])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        failure = refusal(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
        writer.join(WRITER_SECONDS_MAX)
    assert len(content) < TRUST_BYTES_MAX
    assert (failure.code, failure.exit_code) == ("TRUST_INVALID", EXIT_USAGE)
    assert "not strict JSON" not in failure.texts["en"][0], "it was read to its end"
