"""What operators do, by type: as the Starlark specification says where the subset has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.values import (
    CONTAINER_LENGTH_MAX,
    INT_BOUND,
    INT_FLOOR,
    STR_LENGTH_MAX,
    StarDict,
    StarList,
    Value,
    bounded,
    check_changeable,
    check_length,
    equal,
    find_key,
    mismatch,
    new_list,
    new_str,
    set_entry,
    shown,
)


def add(meter: Meter, left: Value, right: Value) -> Value:
    """`left + right`: ints, strings, lists."""
    if type(left) is int and type(right) is int:
        total = left + right
        return total if INT_FLOOR < total < INT_BOUND else bounded(total)
    if type(left) is str and type(right) is str:
        return new_str(meter, left + right)
    if isinstance(left, StarList) and isinstance(right, StarList):
        check_length(len(left) + len(right), CONTAINER_LENGTH_MAX, "list")
        return new_list(meter, [*left, *right])
    raise mismatch("+", left, right)


def subtract(meter: Meter, left: Value, right: Value) -> Value:
    """`left - right` of ints."""
    if type(left) is int and type(right) is int:
        difference = left - right
        return difference if INT_FLOOR < difference < INT_BOUND else bounded(difference)
    raise mismatch("-", left, right)


def multiply(meter: Meter, left: Value, right: Value) -> Value:
    """`left * right`: ints, or a string or list repeated."""
    if type(left) is int and type(right) is int:
        return bounded(left * right)
    if type(left) is int and isinstance(right, str | StarList):
        left, right = right, left
    if type(right) is not int or not isinstance(left, str | StarList):
        raise mismatch("*", left, right)
    count = max(right, 0)
    if isinstance(left, str):
        check_length(len(left) * count, STR_LENGTH_MAX, "string")
        return new_str(meter, left * count if left else "")
    check_length(len(left) * count, CONTAINER_LENGTH_MAX, "list")
    return new_list(meter, list(left) * count if left and count else [])


def floor_divide(meter: Meter, left: Value, right: Value) -> Value:
    """`left // right` of ints, towards minus infinity."""
    if type(left) is int and type(right) is int:
        if right == 0:
            raise ContractError("CONTRACT_DIVISION_BY_ZERO")
        return bounded(left // right)
    raise mismatch("//", left, right)


def modulo(meter: Meter, left: Value, right: Value) -> Value:
    """`left % right` of ints, with the sign of `right`."""
    if type(left) is int and type(right) is int:
        if right == 0:
            raise ContractError("CONTRACT_DIVISION_BY_ZERO")
        return left % right
    raise mismatch("%", left, right)


def negative(value: Value) -> Value:
    """`-value` of an int."""
    if type(value) is int:
        return -value
    raise mismatch("-", value)


def positive(value: Value) -> Value:
    """`+value` of an int."""
    if type(value) is int:
        return value
    raise mismatch("+", value)


def _ordered(symbol: str, compare: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def ordered(meter: Meter, left: Value, right: Value) -> bool:
        if type(left) is int and type(right) is int:
            return compare(left, right)
        if type(left) is str and type(right) is str:
            meter.touch(min(len(left), len(right)))
            return compare(left, right)
        raise mismatch(symbol, left, right)

    return ordered


def contains(meter: Meter, item: Value, container: Value) -> bool:
    """`item in container`: an element, a key, a part of a string."""
    if isinstance(container, StarDict):
        return find_key(meter, container, item) in container
    if isinstance(container, StarList):
        for part in container:
            meter.gas = gas = meter.gas - meter.element_price
            if gas < 0:
                raise OutOfGas
            if equal(meter, part, item):
                return True
        return False
    if isinstance(container, str) and isinstance(item, str):
        meter.touch(len(container) + len(item))
        meter.search(len(container), len(item))
        return item in container
    raise mismatch("in", item, container)


def get_item(meter: Meter, container: Value, place: Value) -> Value:
    """`container[place]`."""
    if isinstance(container, StarDict):
        key = find_key(meter, container, place)
        if key not in container:
            raise ContractError("CONTRACT_KEY_MISSING", key=shown(key))
        return container[key]
    if not isinstance(container, str | StarList) or type(place) is not int:
        raise mismatch("[]", container, place)
    return container[_place(place, len(container))]


def set_item(meter: Meter, container: Value, place: Value, value: Value) -> None:
    """`container[place] = value`."""
    if isinstance(container, StarDict):
        set_entry(meter, container, place, value)
        return
    if not isinstance(container, StarList) or type(place) is not int:
        raise mismatch("[]=", container, place)
    check_changeable(container)
    container[_place(place, len(container))] = value


def get_slice(meter: Meter, of: Value, low: Value, high: Value, step: Value) -> Value:
    """`of[low:high:step]` of a string or a list."""
    if step == 0:
        raise ContractError("CONTRACT_OUT_OF_RANGE", what="step", max_bits=255)
    piece: slice[Any, Any, Any] = slice(_end(low), _end(high), _end(step))
    if isinstance(of, StarList):
        return new_list(meter, of[piece])
    if isinstance(of, str):
        return new_str(meter, of[piece])
    raise mismatch("[:]", of)


def _end(value: Value) -> int | None:
    if value is None or type(value) is int:
        return value
    raise mismatch("[:]", value)


def make_range(numbers: list[Value]) -> range:
    """What `range` goes through; its length is bounded like a list's."""
    if any(type(number) is not int for number in numbers):
        raise mismatch("range", *numbers)
    whole = [number for number in numbers if isinstance(number, int)]
    if len(whole) == 3 and whole[2] == 0:
        raise ContractError("CONTRACT_OUT_OF_RANGE", what="step", max_bits=255)
    made = range(*whole)
    first, step = made.start, made.step
    ends = (made.stop - first + step - (1 if step > 0 else -1)) // step
    check_length(max(ends, 0), CONTAINER_LENGTH_MAX, "range")
    return made


def hold(values: Any) -> Iterable[Value]:
    """What a loop goes through; until `release`, nothing may change it."""
    if isinstance(values, StarList | StarDict):
        if values.holds >= 0:
            values.holds += 1
        return values
    if isinstance(values, range):
        return values
    raise mismatch("for", values)


def release(values: Any) -> None:
    """The loop is over."""
    if isinstance(values, StarList | StarDict) and values.holds > 0:
        values.holds -= 1


def _place(place: int, length: int) -> int:
    if not -length <= place < length:
        raise ContractError("CONTRACT_INDEX_OUT_OF_RANGE", index=shown(place, 80), length=length)
    return place


def _not_equal(meter: Meter, left: Value, right: Value) -> bool:
    return not equal(meter, left, right)


def _misses(meter: Meter, item: Value, container: Value) -> bool:
    return not contains(meter, item, container)


BINARY: Final[dict[str, Callable[[Meter, Value, Value], Value]]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "//": floor_divide,
    "%": modulo,
}
COMPARED: Final[dict[str, Callable[[Meter, Value, Value], bool]]] = {
    "==": equal,
    "!=": _not_equal,
    "<": _ordered("<", lambda left, right: left < right),
    "<=": _ordered("<=", lambda left, right: left <= right),
    ">": _ordered(">", lambda left, right: left > right),
    ">=": _ordered(">=", lambda left, right: left >= right),
    "in": contains,
    "not in": _misses,
}
