"""Expressions with their operator in them: what is usual is done without a call.

A contract spends most of its time on sums of ints and of short strings, on comparisons and on
members of dicts. Each closure here does that itself, and leaves everything else to the function of
`operators`, which does all of it: before that, nothing was paid, made or changed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from services.consensus.domain.contracts.star.builtins import announce, require
from services.consensus.domain.contracts.star.faults import OutOfGas
from services.consensus.domain.contracts.star.frames import UNBOUND, Expression, Frame
from services.consensus.domain.contracts.star.gas import KEY_FREE, UNIT_BYTES
from services.consensus.domain.contracts.star.operators import (
    COMPARED,
    add,
    get_item,
    subtract,
)
from services.consensus.domain.contracts.star.values import (
    CELL_BYTES,
    INT_BOUND,
    INT_FLOOR,
    STR_LENGTH_MAX,
    TYPE_NAMES,
    StarDict,
    StarList,
    Value,
    mismatch,
    new_entries,
)

Fuse: TypeAlias = Callable[[Expression, Expression], Expression]
FuseToText: TypeAlias = Callable[[Expression, str], Expression]
Member: TypeAlias = tuple[str, Expression]
Priced: TypeAlias = tuple[int, Expression]
"""What is evaluated on a condition, and what it is paid before."""

_ENTRY_BYTES: Final = 2 * CELL_BYTES
_ENTRY_UNITS: Final = 1 + _ENTRY_BYTES // UNIT_BYTES


# --- Operators ----------------------------------------------------------------------------------


def _plus(left: Expression, right: Expression) -> Expression:
    def plus(frame: Frame) -> Value:
        one: Any = left(frame)
        other: Any = right(frame)
        if type(one) is str and type(other) is str:
            length = len(one) + len(other)
            meter = frame[0]
            allocated = meter.allocated + length
            gas = meter.gas - meter.byte_price * (1 + length // UNIT_BYTES)
            if length <= STR_LENGTH_MAX and allocated <= meter.allocated_max and gas >= 0:
                meter.allocated, meter.gas = allocated, gas
                return one + other
        elif type(one) is int and type(other) is int:
            total = one + other
            if INT_FLOOR < total < INT_BOUND:
                return total
        return add(frame[0], one, other)

    return plus


def _minus(left: Expression, right: Expression) -> Expression:
    def minus(frame: Frame) -> Value:
        one: Any = left(frame)
        other: Any = right(frame)
        if type(one) is int and type(other) is int:
            difference = one - other
            if INT_FLOOR < difference < INT_BOUND:
                return difference
        return subtract(frame[0], one, other)

    return minus


def _ordered(symbol: str, decide: Callable[[int, int], bool]) -> Fuse:
    operate = COMPARED[symbol]

    def fuse(left: Expression, right: Expression) -> Expression:
        def ordered(frame: Frame) -> bool:
            one, other = left(frame), right(frame)
            if type(one) is int and type(other) is int:
                return decide(one, other)
            return operate(frame[0], one, other)

        return ordered

    return fuse


def _same(symbol: str, decide: Callable[[Value, Value], bool]) -> Fuse:
    operate = COMPARED[symbol]

    def fuse(left: Expression, right: Expression) -> Expression:
        def same(frame: Frame) -> bool:
            one, other = left(frame), right(frame)
            if type(one) is str and type(other) is str:
                meter = frame[0]
                length = len(one) if len(one) < len(other) else len(other)
                meter.gas = gas = meter.gas - meter.byte_price * (1 + length // UNIT_BYTES)
                if gas < 0:
                    raise OutOfGas
                return decide(one, other)
            if type(one) is int and type(other) is int:
                return decide(one, other)
            return operate(frame[0], one, other)

        return same

    return fuse


def _same_as_text(symbol: str, decide: Callable[[Value, Value], bool]) -> FuseToText:
    operate = COMPARED[symbol]

    def fuse(left: Expression, text: str) -> Expression:
        length = len(text)

        def same_as_text(frame: Frame) -> bool:
            one = left(frame)
            if type(one) is not str:
                return operate(frame[0], one, text)
            meter, least = frame[0], len(one) if len(one) < length else length
            meter.gas = gas = meter.gas - meter.byte_price * (1 + least // UNIT_BYTES)
            if gas < 0:
                raise OutOfGas
            return decide(one, text)

        return same_as_text

    return fuse


FUSED_TO_TEXT: Final[dict[str, FuseToText]] = {
    "==": _same_as_text("==", operator.eq),
    "!=": _same_as_text("!=", operator.ne),
}
"""The same where the right one is a text that is spelled out."""
FUSED: Final[dict[str, Fuse]] = {
    "+": _plus,
    "-": _minus,
    "<": _ordered("<", operator.lt),
    "<=": _ordered("<=", operator.le),
    ">": _ordered(">", operator.gt),
    ">=": _ordered(">=", operator.ge),
    "==": _same("==", operator.eq),
    "!=": _same("!=", operator.ne),
}
"""By operator: from its operands to the expression."""


# --- What pays on a condition -------------------------------------------------------------------


def all_of(first: Expression, others: tuple[Priced, ...]) -> Expression:
    """`a and b and c`."""

    def conjunction(frame: Frame) -> Value:
        value = first(frame)
        for price, other in others:
            if not value:
                return value
            meter = frame[0]
            meter.gas = gas = meter.gas - price
            if gas < 0:
                raise OutOfGas
            value = other(frame)
        return value

    return conjunction


def any_of(first: Expression, others: tuple[Priced, ...]) -> Expression:
    """`a or b or c`."""

    def disjunction(frame: Frame) -> Value:
        value = first(frame)
        for price, other in others:
            if value:
                return value
            meter = frame[0]
            meter.gas = gas = meter.gas - price
            if gas < 0:
                raise OutOfGas
            value = other(frame)
        return value

    return disjunction


# --- Containers and types -----------------------------------------------------------------------


def item(of: Expression, at: Expression) -> Expression:
    """`of[at]`."""

    def item_of(frame: Frame) -> Value:
        container, place = of(frame), at(frame)
        if type(container) is StarDict and type(place) is str and len(place) <= KEY_FREE:
            value: Any = container.get(place, UNBOUND)
            if value is not UNBOUND:
                found: Value = value
                return found
        return get_item(frame[0], container, place)

    return item_of


def member(of: Expression, name: str) -> Expression:
    """`of["name"]`, of a name no longer than `KEY_FREE`."""

    def member_of(frame: Frame) -> Value:
        container = of(frame)
        if type(container) is StarDict and name in container:
            return container[name]
        return get_item(frame[0], container, name)

    return member_of


def member_at(place: int, name: str) -> Expression:
    """The same of a local that has a value."""

    def member_of_local(frame: Frame) -> Value:
        container = frame[place]
        if type(container) is StarDict and name in container:
            found: Value = container[name]
            return found
        return get_item(frame[0], container, name)

    return member_of_local


def record(members: tuple[Member, ...]) -> Expression:
    """A dict whose keys are spelled out, no two alike, none longer than `KEY_FREE`."""

    def made(frame: Frame) -> Value:
        entries, meter = new_entries(), frame[0]
        meter.allocate(CELL_BYTES)
        price = meter.byte_price * _ENTRY_UNITS
        for name, value in members:
            part = value(frame)
            allocated, gas = meter.allocated + _ENTRY_BYTES, meter.gas - price
            if allocated > meter.allocated_max or gas < 0:
                meter.allocate(_ENTRY_BYTES)
            meter.allocated, meter.gas = allocated, gas
            entries[name] = part
        return entries

    return made


def plain_record(members: tuple[Member, ...]) -> Expression:
    """The same of values that cost nothing and cannot fail: paid at once where all of it can be."""
    in_parts = record(members)
    size = CELL_BYTES + _ENTRY_BYTES * len(members)
    units = 1 + CELL_BYTES // UNIT_BYTES + _ENTRY_UNITS * len(members)

    def made(frame: Frame) -> Value:
        meter = frame[0]
        allocated, gas = meter.allocated + size, meter.gas - units * meter.byte_price
        if allocated > meter.allocated_max or gas < 0:
            return in_parts(frame)
        meter.allocated, meter.gas = allocated, gas
        entries = new_entries()
        for name, value in members:
            entries[name] = value(frame)
        return entries

    return made


def _type_of(value: Expression) -> Expression:
    return lambda frame: TYPE_NAMES[type(value(frame))]


def _length_of(value: Expression) -> Expression:
    def length_of(frame: Frame) -> Value:
        of = value(frame)
        if type(of) is str or type(of) is StarList or type(of) is StarDict:
            return len(of)
        raise mismatch("len", of)

    return length_of


FUSED_BUILTINS: Final[dict[str, Callable[[Expression], Expression]]] = {
    "type": _type_of,
    "len": _length_of,
}
"""Of one argument, which cost nothing beside it."""


# --- Builtins -----------------------------------------------------------------------------------


def requirement(condition: Expression, code: str, facts: tuple[Member, ...]) -> Expression:
    """`require`, of a code that it may have, with facts that are looked at where it refuses."""

    def required(frame: Frame) -> Value:
        met = condition(frame)
        if met is not True:
            require(frame[1], met, code, {name: each(frame) for name, each in facts})
        return None

    return required


def announcement(topic: str, body: Expression) -> Expression:
    """`emit`, under a topic that it may have."""

    def announced(frame: Frame) -> Value:
        announce(frame[1], topic, body(frame))
        return None

    return announced
