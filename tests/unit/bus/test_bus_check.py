"""What /readyz says of a bus: never reached is not ready, lost later is told and served on."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from services.chassis.bus import check
from services.chassis.bus.check import BusCheck
from services.chassis.bus.port import Bus, TransientError


class ABus:
    """Answers, fails, or says nothing."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: Exception | None = None
        self.is_stuck = False

    async def reach(self) -> None:
        self.asked += 1
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def bus() -> ABus:
    return ABus()


@pytest.fixture
def checked(bus: ABus, monkeypatch: pytest.MonkeyPatch) -> BusCheck:
    monkeypatch.setattr(check, "ASK_AGAIN_SECONDS", 0.0)
    return BusCheck(cast("Bus", bus))


@pytest.mark.req("G2-13-2")
async def test_a_bus_that_answers_is_well(checked: BusCheck) -> None:
    assert (await checked.never_reached(), await checked.away()) == (None, None)


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("fault", [TransientError("no broker"), OSError("refused"), None])
async def test_a_bus_that_was_never_reached_is_a_failure_with_its_code(
    bus: ABus, checked: BusCheck, fault: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "REACH_SECONDS_MAX", 0.01)
    bus.fault, bus.is_stuck = fault, fault is None
    why = "TimeoutError" if fault is None else str(fault)
    wanted = f"BUS_UNAVAILABLE: The message bus is not available at present. ({why})"
    assert await checked.never_reached() == wanted
    assert await checked.away() is None, "it is said once"
    bus.fault, bus.is_stuck = None, False
    assert (await checked.never_reached(), await checked.away()) == (None, None)


@pytest.mark.req("G2-13-2")
async def test_a_bus_that_is_lost_later_is_told_and_is_no_failure(
    bus: ABus, checked: BusCheck
) -> None:
    assert await checked.never_reached() is None
    bus.fault = TransientError("no broker")
    assert await checked.never_reached() is None
    assert "BUS_UNAVAILABLE" in (await checked.away() or "")
    bus.fault = None
    assert await checked.away() is None


async def test_what_can_not_pass_is_no_bus_that_is_away(bus: ABus, checked: BusCheck) -> None:
    bus.fault = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        await checked.never_reached()


async def test_it_is_asked_once_a_second_however_often_somebody_wants_to_know(bus: ABus) -> None:
    checked = BusCheck(cast("Bus", bus))
    answers: list[Any] = await asyncio.gather(*(checked.away() for _ in range(50)))
    assert set(answers) == {None}
    assert bus.asked == 1
