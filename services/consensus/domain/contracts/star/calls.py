"""Calls: of a contract's own functions, of builtins and of methods, by the number of arguments.

Arguments are evaluated before the call is paid for, and each expression in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.frames import (
    Expression,
    Frame,
    Function,
    Remembered,
)
from services.consensus.domain.contracts.star.methods import METHODS
from services.consensus.domain.contracts.star.values import Value

REMEMBERED_MAX: Final = 1_024
"""Results that are kept of one function; then it begins anew."""
REMEMBERED_LENGTH_MAX: Final = 128
"""Of the argument and of the result, in characters."""


def own(function: Function, arguments: tuple[Expression, ...]) -> Expression:
    """The call of a function of the contract."""
    if function.remembered is not None:
        return _remembered(function, function.remembered, arguments[0])
    if len(arguments) == 1:
        return _own_of_one(function, arguments[0])
    if len(arguments) == 2:
        return _own_of_two(function, *arguments)
    if len(arguments) == 3:
        return _own_of_three(function, *arguments)
    return _own_of_any(function, arguments)


def _own_of_any(function: Function, arguments: tuple[Expression, ...]) -> Expression:
    def call(frame: Frame) -> Value:
        meter, given = frame[0], [each(frame) for each in arguments]
        meter.gas = gas = meter.gas - function.price
        if gas < 0:
            raise OutOfGas
        ended = function.body([meter, frame[1], *given, *function.unset])
        return ended[0] if type(ended) is tuple else None

    return call


def _remembered(function: Function, known: dict[str, Remembered], only: Expression) -> Expression:
    """The same of one whose result follows from its one text: what was asked before is paid for as
    if it ran, where all of it can be paid, and else it runs, so that it ends where it would.
    """

    def call(frame: Frame) -> Value:
        meter, argument = frame[0], only(frame)
        if type(argument) is not str:
            return function.run(frame[1], [argument])
        found = known.get(argument)
        if found is not None:
            result, used, made = found
            gas, allocated = meter.gas - used, meter.allocated + made
            if gas >= 0 and allocated <= meter.allocated_max:
                meter.gas, meter.allocated = gas, allocated
                return result
        gas, allocated = meter.gas, meter.allocated
        result = function.run(frame[1], [argument])
        if len(argument) <= REMEMBERED_LENGTH_MAX and _may_be_kept(result):
            if len(known) >= REMEMBERED_MAX:
                known.clear()
            known[argument] = result, gas - meter.gas, meter.allocated - allocated
        return result

    return call


def _may_be_kept(result: Value) -> bool:
    """Whether nobody can change it, and it is short."""
    if type(result) is str:
        return len(result) <= REMEMBERED_LENGTH_MAX
    return result is None or type(result) is bool or type(result) is int


def _own_of_one(function: Function, only: Expression) -> Expression:
    def call(frame: Frame) -> Value:
        meter, argument = frame[0], only(frame)
        meter.gas = gas = meter.gas - function.price
        if gas < 0:
            raise OutOfGas
        ended = function.body([meter, frame[1], argument, *function.unset])
        return ended[0] if type(ended) is tuple else None

    return call


def _own_of_two(function: Function, first: Expression, second: Expression) -> Expression:
    def call(frame: Frame) -> Value:
        meter, one, two = frame[0], first(frame), second(frame)
        meter.gas = gas = meter.gas - function.price
        if gas < 0:
            raise OutOfGas
        ended = function.body([meter, frame[1], one, two, *function.unset])
        return ended[0] if type(ended) is tuple else None

    return call


def _own_of_three(
    function: Function, first: Expression, second: Expression, third: Expression
) -> Expression:
    def call(frame: Frame) -> Value:
        meter, one, two, three = frame[0], first(frame), second(frame), third(frame)
        meter.gas = gas = meter.gas - function.price
        if gas < 0:
            raise OutOfGas
        ended = function.body([meter, frame[1], one, two, three, *function.unset])
        return ended[0] if type(ended) is tuple else None

    return call


def applied(
    builtin: Callable[..., Value], head: int, arguments: tuple[Expression, ...]
) -> Expression:
    """The call of a builtin, which takes the run or its meter before the arguments."""
    if not arguments:
        return lambda frame: builtin(frame[head])
    if len(arguments) == 1:
        (only,) = arguments
        return lambda frame: builtin(frame[head], only(frame))
    if len(arguments) == 2:
        first, second = arguments
        return lambda frame: builtin(frame[head], first(frame), second(frame))
    return lambda frame: builtin(frame[head], *[each(frame) for each in arguments])


def method(name: str, receiver: Expression, arguments: tuple[Expression, ...]) -> Expression:
    """The call of a method of whatever the receiver comes to."""
    by_type: Mapping[type, Callable[..., Value]] = METHODS[name]

    def missing(of: Value) -> ContractError:
        return ContractError("CONTRACT_METHOD_MISSING", method=name, type=type(of).__name__)

    def call(frame: Frame) -> Value:
        of = receiver(frame)
        function = by_type.get(type(of))
        if function is None:
            raise missing(of)
        return function(frame[0], of, *[each(frame) for each in arguments])

    if len(arguments) != 1:
        return call
    (only,) = arguments

    def call_with_one(frame: Frame) -> Value:
        of = receiver(frame)
        function = by_type.get(type(of))
        if function is None:
            raise missing(of)
        return function(frame[0], of, only(frame))

    return call_with_one
