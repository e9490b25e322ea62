"""JSON as the chain uses it: one byte string a value, integers only, and a strict reader.

Replicas read bytes that an attacker chose and must all judge them alike: any bytes give a value or
a `JsonError` that says where, never another exception. `canonical_json` is what gets hashed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeAlias, Union

Json: TypeAlias = Union[bool, int, str, list["Json"], dict[str, "Json"], None]  # noqa: UP007

_Path: TypeAlias = Union[tuple["_Path", Union[int, str]], None]  # noqa: UP007

INTEGER_BOUND: Final = 1 << 63
"""Every integer n has |n| < 2^63."""

DEPTH_BOUND: Final = 64
"""No value nests deeper, whatever a caller asks for."""

_INTEGER_TEXT_MAX: Final = len(str(-INTEGER_BOUND))
_SHOWN_MAX: Final = 40

# A string (closed or not). Possessive: the scan stays linear on any input.
_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_NESTING = re.compile(rf"{_STRING}|[\[{{]|[\]}}]", re.DOTALL)
_NO_BRACKETS = re.compile(rf'(?:[^"\[\]{{}}]++|{_STRING})++', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_NUL: Final = "\\u0000"
_ODD_ESCAPE = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


_TEXT: Final = frozenset((str,))
_CONTAINERS: Final = frozenset((dict, list))
_SCALARS: Final = frozenset((str, bool, type(None)))

_ENCODER: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False
)


class JsonFault(StrEnum):
    """What is wrong with the bytes or the value."""

    TOO_LARGE = "too large"
    TOO_DEEP = "too deep"
    BYTE_ORDER_MARK = "byte order mark"
    NOT_UTF8 = "not UTF-8"
    SYNTAX = "not JSON"
    DUPLICATE_MEMBER = "duplicate member"
    NOT_AN_INTEGER = "a number that is not an integer"
    INTEGER_OUT_OF_RANGE = "integer out of range"
    LONE_SURROGATE = "lone surrogate"
    NUL = "the character U+0000"
    NOT_A_JSON_VALUE = "not a JSON value"


class JsonError(ValueError):
    """The bytes or the value are not JSON as the chain uses it. `where` names the place."""

    def __init__(self, fault: JsonFault, where: str) -> None:
        super().__init__(f"{fault} at {where}")
        self.fault = fault
        self.where = where


def canonical_json(value: Json) -> bytes:
    """Return the one byte string of `value`: members by code point, no white space, UTF-8."""
    if type(value) not in _CONTAINERS or not _is_well_formed(value, DEPTH_BOUND):
        _check(value, None, DEPTH_BOUND)
    text = _ENCODER.encode(value)
    if _ESCAPED_NUL in text:
        _check(value, None, DEPTH_BOUND)
    try:
        return text.encode()
    except UnicodeEncodeError:  # A lone surrogate: the check says where.
        _check(value, None, DEPTH_BOUND)
        raise


def parse_json_strict(data: bytes, *, depth_max: int, size_max: int) -> Json:
    """Return the value of `data`, or raise `JsonError`. Nothing is repaired or ignored."""
    assert 0 < depth_max <= DEPTH_BOUND
    if len(data) > size_max:
        raise JsonError(JsonFault.TOO_LARGE, f"byte {size_max}")
    if data.startswith(b"\xef\xbb\xbf"):
        raise JsonError(JsonFault.BYTE_ORDER_MARK, "byte 0")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(JsonFault.NOT_UTF8, f"byte {error.start}") from None
    _check_nesting(text, depth_max)
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError(JsonFault.SYNTAX, f"character {error.pos}") from None
    if _ODD_ESCAPE.search(text):
        _check(value, None, depth_max)
    return value


def _check_nesting(text: str, depth_max: int) -> None:
    """Refuse deep nesting before the decoder, which recurses, sees it."""
    if text.count("[") + text.count("{") <= depth_max or _is_shallow(text, depth_max):
        return
    depth = 0
    for token in _NESTING.finditer(text):
        match text[token.start()]:
            case "[" | "{":
                depth += 1
                if depth > depth_max:
                    raise JsonError(JsonFault.TOO_DEEP, f"character {token.start()}")
            case "]" | "}":
                depth -= 1


def _is_shallow(text: str, depth_max: int) -> bool:
    """Whether each bracket that opens is closed, and none nests deeper: at a fifth of the price of
    following them one by one, which is left for what this does not confirm.
    """
    brackets = _NO_BRACKETS.sub("", text).replace("{", "[").replace("}", "]")
    too_deep = "[" * (depth_max + 1)
    for _ in range(depth_max):
        if "[" not in brackets or too_deep in brackets:
            break
        brackets = brackets.replace("[]", "")
    return "[" not in brackets


def _is_well_formed(container: Any, depth_left: int) -> bool:
    """Whether `_check` refuses nothing of a list or dict but perhaps a text: at a third of its
    price, since it keeps no path. Texts are judged by what they are encoded to.
    """
    is_object = type(container) is dict
    names, parts = (container, container.values()) if is_object else ((), container)
    if depth_left == 0 or not _TEXT.issuperset(map(type, names)):
        return False
    for part in parts:
        kind = type(part)
        if kind is int:
            if not -INTEGER_BOUND < part < INTEGER_BOUND:
                return False
        elif kind is dict or kind is list:
            if not _is_well_formed(part, depth_left - 1):
                return False
        elif kind not in _SCALARS:
            return False
    return True


def _check(value: object, path: _Path, depth_left: int) -> None:
    """Refuse what canonical JSON cannot carry. Exact types only: no bool as int, no subclasses."""
    kind = type(value)
    if kind is str:
        _check_text(value, path)
    elif kind is int:
        _check_integer(value, path)
    elif kind is list or kind is dict:
        if depth_left == 0:
            raise JsonError(JsonFault.TOO_DEEP, _shown(path))
        for place, part in _parts(value, path):
            _check(part, (path, place), depth_left - 1)
    elif value is not None and kind is not bool:
        fault = JsonFault.NOT_AN_INTEGER if kind is float else JsonFault.NOT_A_JSON_VALUE
        raise JsonError(fault, _shown(path))


def _parts(container: object, path: _Path) -> Iterable[tuple[int | str, object]]:
    if isinstance(container, list):
        return enumerate(container)
    assert isinstance(container, dict)
    for name in container:
        if type(name) is not str:
            raise JsonError(JsonFault.NOT_A_JSON_VALUE, f"a member name of {_shown(path)}")
        _check_text(name, (path, name))
    return container.items()


def _check_integer(number: object, path: _Path) -> None:
    assert isinstance(number, int)
    if not -INTEGER_BOUND < number < INTEGER_BOUND:
        raise JsonError(JsonFault.INTEGER_OUT_OF_RANGE, _shown(path))


def _check_text(text: object, path: _Path) -> None:
    assert isinstance(text, str)
    if not text.isascii() and _SURROGATE.search(text):
        raise JsonError(JsonFault.LONE_SURROGATE, _shown(path))
    if "\0" in text:  # No database and no C library takes it inside a text.
        raise JsonError(JsonFault.NUL, _shown(path))


def _shown(path: _Path) -> str:
    """Return the path as `$.a[3]`, in ASCII; a name that is not ASCII is shown escaped."""
    places: list[str] = []
    while path is not None:
        path, place = path
        if isinstance(place, int):
            places.append(f"[{place}]")
        else:
            places.append("." + ascii(place[:_SHOWN_MAX])[1:-1])
    return "$" + "".join(reversed(places))


def _refuse_number(text: str) -> NoReturn:
    raise JsonError(JsonFault.NOT_AN_INTEGER, f"number {text[:_SHOWN_MAX]}")


def _integer(text: str) -> int:
    if len(text) <= _INTEGER_TEXT_MAX and text.isascii():
        number = int(text)
        if -INTEGER_BOUND < number < INTEGER_BOUND:
            return number
    raise JsonError(JsonFault.INTEGER_OUT_OF_RANGE, f"number {text[:_SHOWN_MAX]}")


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise JsonError(JsonFault.DUPLICATE_MEMBER, f"member {name[:_SHOWN_MAX]!r}")
            seen.add(name)
    return members


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=_refuse_number,
    parse_int=_integer,
    parse_constant=_refuse_number,
)
