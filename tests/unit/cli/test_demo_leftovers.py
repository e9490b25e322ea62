"""The demonstration finds a process that it left: by its command line, and by where it stands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guqiaoctl.demo.failure import DemoError
from guqiaoctl.demo.scenario import check_nothing_left

RENAMED = "import setproctitle; setproctitle.setproctitle('postgres: walwriter')"
PLAIN = "pass"
WAIT = "\nprint(flush=True)\nimport sys; sys.stdin.read()"


@pytest.fixture
def network(tmp_path: Path) -> Any:
    folder = tmp_path / "network"
    folder.mkdir()
    return SimpleNamespace(layout=SimpleNamespace(folder=folder))


@pytest.fixture(params=[("named", PLAIN), ("standing there", RENAMED)], ids=lambda each: each[0])
def left(request: pytest.FixtureRequest, network: Any, tmp_path: Path) -> Iterator[None]:
    how, code = request.param
    folder = network.layout.folder
    process = subprocess.Popen(
        [sys.executable, "-c", code + WAIT, *([str(folder)] if how == "named" else [])],
        cwd=tmp_path if how == "named" else folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.communicate(b"")


@pytest.mark.usefixtures("left")
async def test_a_process_that_is_left_is_found(network: Any) -> None:
    with pytest.raises(DemoError, match=r"1 process.es. left"):
        await check_nothing_left(network)


async def test_where_none_is_left_nothing_is_said(network: Any) -> None:
    await check_nothing_left(network)
