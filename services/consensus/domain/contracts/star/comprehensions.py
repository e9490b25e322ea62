"""Loops of comprehensions, and how names are bound to what a loop comes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.frames import Expression, Frame
from services.consensus.domain.contracts.star.methods import append
from services.consensus.domain.contracts.star.operators import hold, release
from services.consensus.domain.contracts.star.values import (
    StarDict,
    StarList,
    Value,
    mismatch,
    set_entry,
)


def comprehend(
    steps: list[tuple[Callable[[Frame], Any] | None, Any]], made: list[Expression]
) -> Expression:
    """A list of the values made, or a dict of key and value."""
    is_list = len(made) == 1

    def walk(frame: Frame, number: int, out: Any) -> None:
        # Conditions take no frame of their own: their number has no bound of its own either.
        while number < len(steps) and steps[number][0] is None:
            if not steps[number][1](frame):
                return
            number += 1
        if number == len(steps):
            meter = frame[0]
            if is_list:
                append(meter, out, made[0](frame))
            else:
                set_entry(meter, out, made[0](frame), made[1](frame))
            return
        over, act = steps[number]
        assert over is not None, "conditions are behind us"
        meter, values = frame[0], over(frame)
        items = hold(values)
        try:
            for item in items:
                meter.charge(meter.table.element)
                act(frame, item)
                walk(frame, number + 1, out)
        finally:
            release(values)

    def made_of(frame: Frame) -> Value:
        out: Any = StarList() if is_list else StarDict()
        walk(frame, 0, out)
        made_value: Value = out
        return made_value

    return made_of


def charged(over: Callable[[Frame], Any], price: int) -> Callable[[Frame], Any]:
    """What is iterated over again and again, paid for each time."""

    def paid(frame: Frame) -> Any:
        frame[0].charge(price)
        return over(frame)

    return paid


def binder(places: list[int]) -> Callable[[Frame, Value], None]:
    """Binds what a loop comes to: to one name, or an element to each."""
    if len(places) > 1:
        return unpacker(places)
    place = places[0]

    def bind(frame: Frame, value: Value) -> None:
        frame[place] = value

    return bind


def unpacker(places: list[int]) -> Callable[[Frame, Value], None]:
    """Binds each element of a list to a name."""
    count = len(places)

    def unpack(frame: Frame, value: Value) -> None:
        if not isinstance(value, StarList):
            raise mismatch("unpack", value)
        if len(value) != count:
            raise ContractError("CONTRACT_UNPACK_WRONG", names=count, elements=len(value))
        for place, part in zip(places, value, strict=True):
            frame[place] = part

    return unpack
