"""A replica pauses before its disk is full, whatever it does, and goes on as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from services.consensus.jobs import DiskWatch, Pause


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("before", [Pause.NONE, Pause.RESTORING])
def test_a_full_disk_pauses_and_room_lets_go_on_as_before(before: Pause) -> None:
    """It is told once, with its code; without room it stays paused."""
    disk = SimpleNamespace(is_full=False)
    watch = DiskWatch(cast(Any, SimpleNamespace(disk_is_full=lambda: disk.is_full)))
    assert watch.judge(before) is before
    disk.is_full = True
    with capture_logs() as logs:
        assert watch.judge(before) is Pause.DISK_FULL
        assert watch.judge(Pause.DISK_FULL) is Pause.DISK_FULL
    assert [(each["event"], each["code"]) for each in logs] == [("replica.paused", "DISK_FULL")]
    assert watch.goes_on_as(Pause.DISK_FULL) is before
    disk.is_full = False
    assert watch.judge(Pause.DISK_FULL) is before
    assert watch.judge(Pause.NONE) is Pause.NONE


@pytest.mark.req("G2-13-2")
def test_a_replica_that_halted_stays_halted() -> None:
    for is_full in (True, False):
        watch = DiskWatch(cast(Any, SimpleNamespace(disk_is_full=lambda full=is_full: full)))
        assert watch.judge(Pause.HALTED) is Pause.HALTED
        assert watch.goes_on_as(Pause.HALTED) is Pause.HALTED
