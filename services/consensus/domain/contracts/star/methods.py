"""The methods of strings, lists and dicts that a contract may call.

Nothing here depends on a version of Unicode: letters, digits and blanks are the ASCII ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.operators import get_item
from services.consensus.domain.contracts.star.values import (
    CELL_BYTES,
    CONTAINER_LENGTH_MAX,
    STR_LENGTH_MAX,
    StarDict,
    StarList,
    Value,
    check_changeable,
    check_length,
    copy_entries,
    equal,
    find_key,
    mismatch,
    new_list,
    new_str,
    set_entry,
    shown,
)

_BLANKS: Final = " \t\n\r\v\f"


def _text(value: Value, what: str) -> str:
    if isinstance(value, str):
        return value
    raise mismatch(what, value)


# --- Lists ------------------------------------------------------------------------------------


def append(meter: Meter, of: StarList, value: Value) -> None:
    """Add one element at the end."""
    check_changeable(of)
    check_length(len(of) + 1, CONTAINER_LENGTH_MAX, "list")
    meter.allocate(CELL_BYTES)
    of.append(value)


def extend(meter: Meter, of: StarList, values: Value) -> None:
    """Add the elements of a list, or the keys of a dict, at the end."""
    if not isinstance(values, StarList | StarDict):
        raise mismatch("extend", values)
    check_changeable(of)
    check_length(len(of) + len(values), CONTAINER_LENGTH_MAX, "list")
    meter.allocate(CELL_BYTES * len(values))
    of.extend(list(values))


def _insert(meter: Meter, of: StarList, index: Value, value: Value) -> None:
    if type(index) is not int:
        raise mismatch("insert", index)
    check_changeable(of)
    check_length(len(of) + 1, CONTAINER_LENGTH_MAX, "list")
    meter.visit(len(of))
    meter.allocate(CELL_BYTES)
    of.insert(max(min(index, len(of)), -len(of)), value)


def _clear(meter: Meter, of: StarList | StarDict) -> None:
    check_changeable(of)
    of.clear()


def _index(meter: Meter, of: StarList, value: Value) -> int:
    for number, part in enumerate(of):
        meter.charge(meter.table.element)
        if equal(meter, part, value):
            return number
    raise ContractError("CONTRACT_VALUE_MISSING", method="index")


def _remove(meter: Meter, of: StarList, value: Value) -> None:
    check_changeable(of)
    place = _index(meter, of, value)
    meter.visit(len(of))
    del of[place]


def _pop_list(meter: Meter, of: StarList, *rest: Value) -> Value:
    check_changeable(of)
    if len(rest) > 1:
        raise ContractError("CONTRACT_ARGUMENT_WRONG", argument="default", why="unknown")
    place = rest[0] if rest else -1
    if type(place) is not int:
        raise mismatch("pop", place)
    value = get_item(meter, of, place)
    meter.visit(len(of))
    del of[place]
    return value


# --- Dicts ------------------------------------------------------------------------------------


def _get(meter: Meter, of: StarDict, key: Value, default: Value = None) -> Value:
    return of.get(find_key(meter, of, key), default)


def _keys(meter: Meter, of: StarDict) -> StarList:
    return new_list(meter, list(of))


def _values(meter: Meter, of: StarDict) -> StarList:
    return new_list(meter, list(of.values()))


def _items(meter: Meter, of: StarDict) -> StarList:
    pairs: list[Value] = [new_list(meter, [key, value]) for key, value in of.items()]
    return new_list(meter, pairs)


def _pop_dict(meter: Meter, of: StarDict, *rest: Value) -> Value:
    check_changeable(of)
    if not rest:
        raise ContractError("CONTRACT_ARGUMENT_WRONG", argument="x", why="missing")
    key = find_key(meter, of, rest[0])
    if key in of:
        return of.take(key)
    if len(rest) > 1:
        return rest[1]
    raise ContractError("CONTRACT_KEY_MISSING", key=shown(key))


def _setdefault(meter: Meter, of: StarDict, key: Value, default: Value = None) -> Value:
    check_changeable(of)
    known = find_key(meter, of, key)
    if known not in of:
        set_entry(meter, of, known, default)
    return of[known]


def _update(meter: Meter, of: StarDict, other: Value) -> None:
    if not isinstance(other, StarDict):
        raise mismatch("update", other)
    check_changeable(of)
    meter.visit(len(other))
    copy_entries(meter, of, other)


# --- Strings ----------------------------------------------------------------------------------


def _startswith(meter: Meter, of: str, part: Value) -> bool:
    meter.touch(len(of))
    return of.startswith(_text(part, "startswith"))


def _endswith(meter: Meter, of: str, part: Value) -> bool:
    meter.touch(len(of))
    return of.endswith(_text(part, "endswith"))


def _find(meter: Meter, of: str, part: Value) -> int:
    text = _text(part, "find")
    meter.touch(len(of) + len(text))
    meter.search(len(of), len(text))
    return of.find(text)


def _count(meter: Meter, of: str, part: Value) -> int:
    text = _text(part, "count")
    meter.touch(len(of) + len(text))
    meter.search(len(of), len(text))
    return of.count(text)


def _index_of(meter: Meter, of: str, part: Value) -> int:
    place = _find(meter, of, part)
    if place < 0:
        raise ContractError("CONTRACT_VALUE_MISSING", method="index")
    return place


def _isdigit(meter: Meter, of: str) -> bool:
    meter.touch(len(of))
    return of.isascii() and of.isdigit()


def _join(meter: Meter, of: str, parts: Value) -> str:
    if not isinstance(parts, StarList | StarDict):
        raise mismatch("join", parts)
    meter.gather(len(parts))
    texts = [_text(part, "join") for part in parts]
    check_length(sum(map(len, texts)) + len(of) * len(texts), STR_LENGTH_MAX, "string")
    return new_str(meter, of.join(texts))


def _replace(meter: Meter, of: str, old: Value, new: Value) -> str:
    before, after = _text(old, "replace"), _text(new, "replace")
    meter.touch(len(of))
    meter.search(2 * len(of), len(before))
    found = of.count(before)
    check_length(len(of) + found * (len(after) - len(before)), STR_LENGTH_MAX, "string")
    return new_str(meter, of.replace(before, after))


def _split(meter: Meter, of: str, separator: Value) -> StarList:
    text = _text(separator, "split")
    if not text:
        raise ContractError("CONTRACT_VALUE_MISSING", method="split")
    meter.touch(len(of))
    meter.search(2 * len(of), len(text))
    check_length(of.count(text) + 1, CONTAINER_LENGTH_MAX, "list")
    parts: list[Value] = [new_str(meter, part) for part in of.split(text)]
    return new_list(meter, parts)


def _strip(meter: Meter, of: str) -> str:
    meter.pass_over(len(of))
    return new_str(meter, of.strip(_BLANKS))


def _lstrip(meter: Meter, of: str) -> str:
    meter.pass_over(len(of))
    return new_str(meter, of.lstrip(_BLANKS))


def _rstrip(meter: Meter, of: str) -> str:
    meter.pass_over(len(of))
    return new_str(meter, of.rstrip(_BLANKS))


def _lower(meter: Meter, of: str) -> str:
    return new_str(meter, of.lower() if of.isascii() else _of_utf8(_utf8(of).lower()))


def _upper(meter: Meter, of: str) -> str:
    return new_str(meter, of.upper() if of.isascii() else _of_utf8(_utf8(of).upper()))


def _utf8(text: str) -> bytes:
    """What bytes know as letters are the ASCII ones, and no others have such bytes."""
    return text.encode("utf-8", "surrogatepass")


def _of_utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


METHODS: Final[dict[str, dict[type, Callable[..., Value]]]] = {
    "append": {StarList: append},
    "clear": {StarList: _clear, StarDict: _clear},
    "count": {str: _count},
    "endswith": {str: _endswith},
    "extend": {StarList: extend},
    "find": {str: _find},
    "get": {StarDict: _get},
    "index": {StarList: _index, str: _index_of},
    "insert": {StarList: _insert},
    "isdigit": {str: _isdigit},
    "items": {StarDict: _items},
    "join": {str: _join},
    "keys": {StarDict: _keys},
    "lower": {str: _lower},
    "lstrip": {str: _lstrip},
    "pop": {StarList: _pop_list, StarDict: _pop_dict},
    "remove": {StarList: _remove},
    "replace": {str: _replace},
    "rstrip": {str: _rstrip},
    "setdefault": {StarDict: _setdefault},
    "split": {str: _split},
    "startswith": {str: _startswith},
    "strip": {str: _strip},
    "update": {StarDict: _update},
    "upper": {str: _upper},
    "values": {StarDict: _values},
}
