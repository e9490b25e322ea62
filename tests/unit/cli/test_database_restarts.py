"""What the supervisor says while PostgreSQL falls and is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from guqiaoctl.network import bring_up
from guqiaoctl.network.bring_up import DATABASE_STARTS_TRIED, _Database
from services.chassis.postgres.errors import DiskFullError, StartFailedError

LOG = StartFailedError("postgres", Path("postgres.log"), "FATAL: line\nFATAL: line")
FULL = DiskFullError(Path("data"))


class Falling:
    """A server that does not run, and whose starts end as told; then it is up."""

    def __init__(self, ends: Sequence[Exception]) -> None:
        self._ends: Iterator[Exception] = iter(ends)
        self.running = False

    def stop(self) -> None:
        """It fell."""

    def start(self) -> None:
        """As told."""
        for error in self._ends:
            raise error
        self.running = True


async def said(monkeypatch: pytest.MonkeyPatch, ends: Sequence[Exception]) -> list[str]:
    """Everything that is said until it runs again."""
    monkeypatch.setattr(bring_up, "DATABASE_POLL_SECONDS", 0.0)
    monkeypatch.setattr(bring_up, "DATABASE_RETRY_SECONDS", 0.0)
    monkeypatch.setenv("GUQIAO_LANG", "en")
    lines: list[str] = []
    postgres = Falling(ends)
    keeping = asyncio.ensure_future(
        _Database(postgres, lines.append).keep()  # type: ignore[arg-type]
    )
    async with asyncio.timeout(60):
        while not postgres.running:  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    return lines


async def test_a_server_that_is_struck_again_while_it_starts_shows_no_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = await said(monkeypatch, [LOG] * (DATABASE_STARTS_TRIED - 1))
    assert lines == ["postgres ended, starting it again"]


async def test_a_server_that_does_not_start_again_and_again_shows_its_log_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = await said(monkeypatch, [LOG] * (DATABASE_STARTS_TRIED + 2))
    assert lines == ["postgres ended, starting it again", f"postgres: {LOG.text_en}"]


async def test_what_names_its_reason_is_said_at_once_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = await said(monkeypatch, [FULL, FULL])
    assert lines == ["postgres ended, starting it again", f"postgres: {FULL.text_en}"]
