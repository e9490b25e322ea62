"""Judges the body of a data object by the interface that its format was described with.

A description (`notice/interface.py`) is a table of paths: `a.b` is a member of a member, `a[].b`
one of each object in a list. The judgement is strict and of no library, so that every replica comes
to the same one for ever: a body has what the table names and nothing else. What is mandatory has to
be in the body, and behind `[]` in each element of a list that is there; null is as good as absent.

| type | what is taken |
|---|---|
| boolean | true, false |
| integer | a whole number between -2^53 and 2^53, both left out |
| text | at most 4,096 bytes of UTF-8 |
| date | YYYY-MM-DD, a day of the calendar |
| time | YYYY-MM-DDThh:mm:ss with Z or an offset such as +08:00 |
| digest | 64 hexadecimal digits in lower case |
| reference | `<object id>/<version>` of an object that is recorded |
| list | at most 4,096 values that are neither objects nor lists |
| object | any object |

Where a field lists its values, no other one is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal

ELEMENT: Final = "[]"
TEXT_BYTES_MAX: Final = 4_096
SCALARS_MAX: Final = 4_096
NUMBER_BOUND: Final = 1 << 53
PATH_SHOWN: Final = 200
"""Characters of a place that a refusal shows."""

REFERENCE: Final = re.compile(
    r"([a-z][a-z0-9_-]{0,31}:[a-z][a-z0-9_]{0,31}:[0-9a-f]{64}(?::[1-9][0-9]{0,2})?)"
    r"/(0|[1-9][0-9]{0,15})"
)
"""Object id and version, as JR/T 0314 joins them."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A version of an object that a body names, and the field in which it does."""

    object_id: str
    version: int
    field: str


@dataclass(slots=True)
class _Node:
    """What a table says of one name: a value, members of an object, elements of a list."""

    value: Mapping[str, Any] | None = None
    members: dict[str, _Node] = field(default_factory=dict)
    element: _Node | None = None


def judge_body(fields: Mapping[str, Any], body: Mapping[str, Json]) -> list[Reference]:
    """Refuse a body that is not of the table (SCHEMA_FAILED names the field); return what it refers
    to. `fields` is the member of that name of a part that `read_interface` took.
    """
    return [*_members(_tree(fields), body, "body")]


def _tree(fields: Mapping[str, Any]) -> _Node:
    root = _Node()
    for path in sorted(fields):
        node = root
        for name in path.split("."):
            plain = name.removesuffix(ELEMENT)
            node = node.members.setdefault(plain, _Node())
            if plain != name:
                node.element = node.element or _Node()
                node = node.element
        node.value = fields[path]
    return root


def _members(node: _Node, value: Mapping[str, Json], path: str) -> Iterator[Reference]:
    for name in sorted(value.keys() - node.members.keys()):
        _refuse(f"{path}.{name}", "unknown")
    for name, member in node.members.items():
        yield from _one(member, value.get(name), f"{path}.{name}")


def _one(node: _Node, value: Json, path: str) -> Iterator[Reference]:
    if value is None:
        _require_optional(node, path)
    elif isinstance(value, list):
        yield from _list(node, value, path)
    elif isinstance(value, dict) and node.members:
        yield from _members(node, value, path)
    elif node.value is None:
        _refuse(path, "not an object" if node.members else "not a list")
    else:
        yield from _value(node.value, value, path)


def _require_optional(node: _Node, path: str) -> None:
    """What is absent has nothing in it that is mandatory; the elements of a list are not."""
    if node.value is not None and node.value["required"]:
        _refuse(path, "missing")
    for name, member in node.members.items():
        _require_optional(member, f"{path}.{name}")


def _list(node: _Node, value: Sequence[Json], path: str) -> Iterator[Reference]:
    """Objects, where elements have members; else values, where the name is a list's."""
    is_of_values = node.value is not None and node.value["type"] == "list"
    if node.element is None and not is_of_values:
        _refuse(path, "a list")
    for index, each in enumerate(value):
        here = f"{path}[{index}]"
        if isinstance(each, dict) and node.element is not None:
            yield from _members(node.element, each, here)
        elif isinstance(each, (dict, list)) or not is_of_values:
            _refuse(here, "not what the list is of")
    if is_of_values and node.element is None and len(value) > SCALARS_MAX:
        _refuse(path, f"more than {SCALARS_MAX} values")


def _value(rule: Mapping[str, Any], value: Json, path: str) -> Iterator[Reference]:
    kind = str(rule["type"])
    if not _TYPES[kind](value):
        _refuse(path, f"not of the type {kind}")
    values = rule.get("values")
    if values is not None and _written(value) not in values:
        _refuse(path, "not one of the values")
    if kind == "reference":
        match = REFERENCE.fullmatch(str(value))
        assert match is not None, "its type was judged"
        yield Reference(match[1], int(match[2]), path)


def _written(value: Json) -> str:
    """A value as a description lists it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_integer(value: Json) -> bool:
    return type(value) is int and -NUMBER_BOUND < value < NUMBER_BOUND


def _is_text(value: Json) -> bool:
    return isinstance(value, str) and len(value.encode()) <= TEXT_BYTES_MAX


def _is_moment(form: re.Pattern[str]) -> Callable[[Json], bool]:
    """Of that form, and in the calendar."""

    def judge(value: Json) -> bool:
        if not isinstance(value, str) or not form.fullmatch(value):
            return False
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return True

    return judge


def _is_written_as(form: re.Pattern[str]) -> Callable[[Json], bool]:
    return lambda value: isinstance(value, str) and form.fullmatch(value) is not None


_TYPES: Final[Mapping[str, Callable[[Json], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "date": _is_moment(_DATE),
    "digest": _is_written_as(_DIGEST),
    "integer": _is_integer,
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "reference": _is_written_as(REFERENCE),
    "text": _is_text,
    "time": _is_moment(_TIME),
}


def _refuse(path: str, fault: str) -> NoReturn:
    raise Refusal("SCHEMA_FAILED", field=path[:PATH_SHOWN], fault=fault)
