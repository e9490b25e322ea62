"""Programs without the closures of `star.fused`: each operator by the function that does all of it.

What stands here is written anew, in the plainest way, and shares nothing with `fused`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.consensus.domain.contracts.star import expressions
from services.consensus.domain.contracts.star.builtins import FUNCTIONS
from services.consensus.domain.contracts.star.frames import Expression, Frame
from services.consensus.domain.contracts.star.gas import GasTable
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.operators import get_item
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.values import (
    CELL_BYTES,
    StarDict,
    Value,
    set_entry,
)

Members = tuple[tuple[str, Expression], ...]


def unfused(module: Module, table: GasTable) -> Program:
    """The program of a form, compiled without what is fused."""
    with pytest.MonkeyPatch.context() as patch:
        for table_of in ("FUSED", "FUSED_TO_TEXT", "FUSED_BUILTINS"):
            patch.setattr(expressions, table_of, {})
        for name, plain in _PLAIN.items():
            patch.setattr(expressions, name, plain)
        return Program(module, table)


def _item(of: Expression, at: Expression) -> Expression:
    def item(frame: Frame) -> Value:
        container = of(frame)
        return get_item(frame[0], container, at(frame))

    return item


def _member(of: Expression, name: str) -> Expression:
    return _item(of, lambda frame: name)


def _member_at(place: int, name: str) -> Expression:
    return _item(lambda frame: frame[place], lambda frame: name)


def _record(members: Members) -> Expression:
    def record(frame: Frame) -> Value:
        made = StarDict()
        frame[0].allocate(CELL_BYTES)
        for name, value in members:
            set_entry(frame[0], made, name, value(frame))
        return made

    return record


def _all_of(first: Expression, others: tuple[tuple[int, Expression], ...]) -> Expression:
    return _until(first, others, ends=False)


def _any_of(first: Expression, others: tuple[tuple[int, Expression], ...]) -> Expression:
    return _until(first, others, ends=True)


def _until(
    first: Expression, others: tuple[tuple[int, Expression], ...], *, ends: bool
) -> Expression:
    def until(frame: Frame) -> Value:
        value = first(frame)
        for price, other in others:
            if bool(value) is ends:
                break
            frame[0].charge(price)
            value = other(frame)
        return value

    return until


def _requirement(condition: Expression, code: str, facts: Members) -> Expression:
    def requirement(frame: Frame) -> Value:
        met = condition(frame)
        told = {name: each(frame) for name, each in facts}
        return _called("require", frame, met, code, told)

    return requirement


def _announcement(topic: str, body: Expression) -> Expression:
    return lambda frame: _called("emit", frame, topic, body(frame))


def _called(name: str, frame: Frame, *arguments: Any) -> Value:
    builtin: Callable[..., Value] = FUNCTIONS[name]
    return builtin(frame[1], *arguments)


_PLAIN: dict[str, Callable[..., Expression]] = {
    "item": _item,
    "member": _member,
    "member_at": _member_at,
    "record": _record,
    "plain_record": _record,
    "all_of": _all_of,
    "any_of": _any_of,
    "requirement": _requirement,
    "announcement": _announcement,
}
