"""Statements in turn, and on a condition: what runs most often of all, so with the fewest calls.

A step's value goes to a name's place, or is returned, without a closure of the statement's own.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.frames import Expression, Frame, Signal, Statement

Step: TypeAlias = tuple[int, int, int, Any]
"""Its line; what it is paid before it runs; a name's place, `RETURNED` or `SIGNAL`; what runs."""
SIGNAL: Final = 0
"""What runs is a statement, and says itself how to go on."""
RETURNED: Final = -1
"""What runs is an expression, whose value the function returns."""


def in_turn(steps: tuple[Step, ...]) -> Statement:
    """Steps one after the other, each paid for, with its line noted on whatever it raises."""
    if len(steps) == 1 and steps[0][2] <= SIGNAL:
        return _alone(steps[0])
    return _several(steps)


def _several(steps: tuple[Step, ...]) -> Statement:
    def block(frame: Frame) -> Signal:
        meter, line = frame[0], 0
        try:
            for step in steps:
                line, price, place, act = step
                meter.gas = gas = meter.gas - price
                if gas < 0:
                    raise OutOfGas
                if place > 0:
                    frame[place] = act(frame)
                elif place:
                    return (act(frame),)
                else:
                    signal: Signal = act(frame)
                    if signal is not None:
                        return signal
        except (ContractError, OutOfGas) as error:
            error.line = error.line or line
            raise
        return None

    return block


def _alone(step: Step) -> Statement:
    """The same of one step that binds no name."""
    line, price, place, act = step
    returns = place == RETURNED

    def block(frame: Frame) -> Signal:
        meter = frame[0]
        try:
            meter.gas = gas = meter.gas - price
            if gas < 0:
                raise OutOfGas
            return (act(frame),) if returns else act(frame)
        except (ContractError, OutOfGas) as error:
            error.line = error.line or line
            raise

    return block


def choice(
    price: int, test: Expression, block: Statement, otherwise: Statement | None
) -> Statement:
    """`if` with one condition, which is paid for before it is asked."""

    def choose(frame: Frame) -> Signal:
        meter = frame[0]
        meter.gas = gas = meter.gas - price
        if gas < 0:
            raise OutOfGas
        if test(frame):
            return block(frame)
        return None if otherwise is None else otherwise(frame)

    return choose
