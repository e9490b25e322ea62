"""The values of star/1: int, str, bool, None, list, dict; and what holds between them.

A bool is no int, equality never mixes types, dicts keep the order of insertion. Lists and dicts
can be frozen (constants) or held (while they are iterated over); then changing them is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias, cast

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import ENTRIES, UNIT_BYTES, Meter

INT_BOUND: Final = 1 << 255
"""Every int n has |n| < 2^255; what leaves a call (writes, events) is held to JSON's 2^63."""
JSON_INT_BOUND: Final = 1 << 63
INT_FLOOR: Final = -INT_BOUND
_JSON_INT_FLOOR: Final = -JSON_INT_BOUND
STR_LENGTH_MAX: Final = 65_536
CONTAINER_LENGTH_MAX: Final = 10_000
DEPTH_MAX: Final = 32
KEY_INT_BOUND: Final = 1 << 60
"""Larger ints could be made to collide in a hash table."""
HOLES_MIN: Final = 64
_TEXTS: Final = frozenset((str,))
CELL_BYTES: Final = 64
"""What an element of a list counts for, about; an entry of a dict counts twice."""


class StarList(list["Value"]):
    """A list; `holds` counts the iterations going on, and is -1 where it is frozen."""

    __slots__ = ("holds",)

    def __init__(self, values: Iterable[Value] = ()) -> None:
        super().__init__(values)
        self.holds = 0


class StarDict(dict["Key", "Value"]):
    """A dict; `holds` as for a list. What `take` took leaves holes in CPython's table, which every
    walk steps over: once there are more of them than entries, they are closed.
    """

    __slots__ = ("_holes", "holds")

    def __init__(self, values: Iterable[tuple[Key, Value]] = ()) -> None:
        super().__init__(values)
        self.holds = self._holes = 0

    def take(self, key: Key) -> Value:
        """Remove an entry that is there; returns its value."""
        value = self.pop(key)
        self._holes += 1
        if self._holes > max(len(self), HOLES_MIN):
            entries = list(self.items())
            self.clear()
            self.update(entries)
            self._holes = 0
        return value


def new_entries() -> StarDict:
    """An empty dict, made without a call of Python."""
    made = StarDict.__new__(StarDict)
    made.holds = made._holes = 0
    return made


Key: TypeAlias = int | str
Value: TypeAlias = int | str | bool | StarList | StarDict | None

TYPE_NAMES: Final[dict[type, str]] = {
    int: "int",
    str: "string",
    bool: "bool",
    type(None): "NoneType",
    StarList: "list",
    StarDict: "dict",
}


def type_name(value: Value) -> str:
    """Starlark's name of the value's type."""
    return TYPE_NAMES[type(value)]


def shown(value: Value, length: int = 64) -> str:
    """A value in the facts of an error; of one that may hold others its type, however deep it is,
    since nobody has paid for more.
    """
    is_scalar = value is None or type(value) in (str, int, bool)
    return (str(value) if is_scalar else type_name(value))[:length]


def mismatch(what: str, *values: Value) -> ContractError:
    """An operation met types that it is not for."""
    return ContractError(
        "CONTRACT_TYPE_MISMATCH", operation=what, types=list(map(type_name, values))
    )


def bounded(number: int) -> int:
    """The int, if it is in range."""
    if INT_FLOOR < number < INT_BOUND:
        return number
    raise ContractError("CONTRACT_OUT_OF_RANGE", what="int", max_bits=255)


def check_length(length: int, longest: int, what: str) -> None:
    """Refuse what would become too long."""
    if length > longest:
        raise ContractError("LIMIT_EXCEEDED", limit=what, maximum=longest)


def new_str(meter: Meter, text: str) -> str:
    """A string that was just made, accounted for."""
    length = len(text)
    if length > STR_LENGTH_MAX:
        check_length(length, STR_LENGTH_MAX, "string")
    meter.allocate(length)
    return text


def new_list(meter: Meter, values: list[Value]) -> StarList:
    """A list of values, accounted for."""
    pay_list(meter, len(values))
    return StarList(values)


def pay_list(meter: Meter, length: int) -> None:
    """Account for a list of so many elements."""
    if length > CONTAINER_LENGTH_MAX:
        check_length(length, CONTAINER_LENGTH_MAX, "list")
    meter.allocate(CELL_BYTES * (length + 1))


def check_changeable(container: StarList | StarDict) -> None:
    """Refuse to change what is frozen or being iterated over."""
    if container.holds:
        reason = "frozen" if container.holds < 0 else "iterated"
        raise ContractError("CONTRACT_NOT_CHANGEABLE", why=reason, type=type_name(container))


def check_key(key: Value) -> Key:
    """The key, if a dict can have it."""
    if type(key) is str:
        return key
    if type(key) is int and -KEY_INT_BOUND < key < KEY_INT_BOUND:
        return key
    raise mismatch("dict key", key)


def find_key(meter: Meter, of: StarDict, key: Value) -> Key:
    """The key, paid for: what it takes to look for it in this dict."""
    if type(key) is str:
        if len(key) > meter.key_free:
            meter.touch_key(len(key))
        return key
    known = check_key(key)
    if len(of) >= ENTRIES:
        meter.probe(len(of))
    return known


def set_entry(meter: Meter, target: StarDict, key: Value, value: Value) -> None:
    """`target[key] = value`."""
    if target.holds:
        check_changeable(target)
    if type(key) is str and len(key) <= meter.key_free:
        known: Key = key
    else:
        known = find_key(meter, target, key)
    if known not in target:
        if len(target) >= CONTAINER_LENGTH_MAX:
            check_length(len(target) + 1, CONTAINER_LENGTH_MAX, "dict")
        meter.allocate(2 * CELL_BYTES)
    target[known] = value


def copy_entries(meter: Meter, target: StarDict, source: StarDict) -> None:
    """Set all entries of a dict in another one, which may be changed."""
    if not target and len(source) < ENTRIES and _TEXTS.issuperset(map(type, source)):
        size, count = 2 * CELL_BYTES, len(source)
        allocated = meter.allocated + count * size
        gas = meter.gas - count * meter.byte_price * (1 + size // UNIT_BYTES)
        are_short = not count or max(map(len, cast(Iterable[str], source))) <= meter.key_free
        if are_short and allocated <= meter.allocated_max and gas >= 0:
            meter.allocated, meter.gas = allocated, gas
            target.update(source)
            return
    for key, value in list(source.items()):
        set_entry(meter, target, key, value)


def equal(meter: Meter, left: Value, right: Value, depth: int = 0) -> bool:
    """`left == right`: of one type and of one content, in depth."""
    if type(left) is not type(right):
        return False
    if type(left) is str and type(right) is str:
        meter.touch(min(len(left), len(right)))
        return left == right
    if isinstance(left, StarList) and isinstance(right, StarList):
        _check_depth(depth)
        meter.visit(len(left))
        return len(left) == len(right) and all(
            equal(meter, one, other, depth + 1) for one, other in zip(left, right, strict=True)
        )
    if isinstance(left, StarDict) and isinstance(right, StarDict):
        _check_depth(depth)
        meter.visit(len(left))
        return len(left) == len(right) and _equal_entries(meter, left, right, depth + 1)
    return left == right


def _equal_entries(meter: Meter, left: StarDict, right: StarDict, depth: int) -> bool:
    """Whether all of the one are in the other; for ints there is no call."""
    for key, value in left.items():
        if find_key(meter, right, key) not in right:
            return False
        other = right[key]
        if type(value) is int and type(other) is int:
            if value != other:
                return False
        elif not equal(meter, value, other, depth):
            return False
    return True


def freeze(value: Value) -> Value:
    """Let nothing of the value be changed any more; returns it."""
    if isinstance(value, StarList | StarDict):
        value.holds = -1
        for part in value.values() if isinstance(value, StarDict) else value:
            freeze(part)
    return value


def to_json(meter: Meter, value: Value, depth: int = 0) -> Json:
    """The value as it leaves a call, paid for; raises `ContractError` where it is no JSON."""
    if type(value) is str:
        meter.touch(len(value))
        return value
    if type(value) is StarDict:
        return _object_to_json(meter, value, depth)
    if type(value) is int:
        if _JSON_INT_FLOOR < value < JSON_INT_BOUND:
            return value
        raise ContractError("CONTRACT_OUT_OF_RANGE", what="int in JSON", max_bits=63)
    if type(value) is StarList:
        _check_depth(depth)
        meter.visit(len(value))
        return [to_json(meter, part, depth + 1) for part in value]
    assert value is None or isinstance(value, bool), "there are no other values"
    return value


def _object_to_json(meter: Meter, value: StarDict, depth: int) -> Json:
    """Texts, most of what a dict holds, are paid for here, without a call for each."""
    _check_depth(depth)
    meter.visit(2 * len(value))
    entries: dict[str, Json] = {}
    key_free, byte_price = meter.key_free, meter.byte_price
    for key, part in value.items():
        name = key if type(key) is str and len(key) <= key_free else _member(meter, key)
        if type(part) is str:
            meter.gas = gas = meter.gas - byte_price * (1 + len(part) // UNIT_BYTES)
            if gas < 0:
                raise OutOfGas
            entries[name] = part
        elif type(part) is StarDict:
            entries[name] = _object_to_json(meter, part, depth + 1)
        else:
            entries[name] = to_json(meter, part, depth + 1)
    return entries


def _member(meter: Meter, key: Key) -> str:
    """The key of a JSON object, paid for."""
    if not isinstance(key, str):
        raise mismatch("JSON member", key)
    if len(key) > meter.key_free:
        meter.touch_key(len(key))
    return key


def from_json(meter: Meter, value: Json) -> Value:
    """A value of the chain or of a caller, the contract's own from here on."""
    if type(value) is int:
        return value
    if type(value) is str:
        length = len(value)
        if length > STR_LENGTH_MAX:
            check_length(length, STR_LENGTH_MAX, "string")
        meter.allocate(length)
        return value
    if isinstance(value, dict):
        return _object_from_json(meter, value)
    if isinstance(value, list):
        return new_list(meter, [from_json(meter, part) for part in value])
    return value


def _object_from_json(meter: Meter, value: dict[str, Json]) -> StarDict:
    """Short texts, most of what an object holds, are paid for here, without a call for each."""
    check_length(len(value), CONTAINER_LENGTH_MAX, "dict")
    meter.allocate(2 * CELL_BYTES * (len(value) + 1))
    if value and max(map(len, value)) > meter.key_free:
        for key in value:
            _member(meter, key)
    entries, price = new_entries(), meter.byte_price
    for key, part in value.items():
        if type(part) is str and len(part) < UNIT_BYTES:
            allocated, gas = meter.allocated + len(part), meter.gas - price
            if allocated <= meter.allocated_max and gas >= 0:
                meter.allocated, meter.gas = allocated, gas
                entries[key] = part
                continue
        entries[key] = part if type(part) is int else from_json(meter, part)
    return entries


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise ContractError("LIMIT_EXCEEDED", limit="nesting", maximum=DEPTH_MAX)
