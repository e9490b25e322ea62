"""The functions that a contract can call: those of the language, and those of the chain."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cmp_to_key, lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from guqiao_sdk.gm.sm3 import sm3
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.operators import make_range
from services.consensus.domain.contracts.star.values import (
    CELL_BYTES,
    StarDict,
    StarList,
    Value,
    bounded,
    copy_entries,
    from_json,
    mismatch,
    new_list,
    new_str,
    pay_list,
    shown,
    to_json,
    type_name,
)

if TYPE_CHECKING:
    from services.consensus.domain.contracts.star.frames import Run

SCAN_LIMIT_MAX: Final = 1_000
KEY_LENGTH_MAX: Final = 256
PARTIES_MAX: Final = 256
"""Whose facts are kept from one call to the next: who signs once, signs often."""
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_TOPIC: Final = re.compile(r"[a-z][a-z0-9_.]{0,127}")
_INT: Final = re.compile(r"[+-]?[0-9]{1,77}")
_matches_key: Final = re.compile(r"[!-~]{1,256}").fullmatch

KeyFunction = Callable[[Value], Value]


# --- The language -----------------------------------------------------------------------------


def _len(meter: Meter, value: Value) -> int:
    if isinstance(value, str | StarList | StarDict):
        return len(value)
    raise mismatch("len", value)


def _str(meter: Meter, value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, StarList | StarDict):
        raise mismatch("str", value)
    return new_str(meter, str(value))


def _int(meter: Meter, value: Value) -> int:
    if isinstance(value, str):
        if not _INT.fullmatch(value):
            raise ContractError("CONTRACT_NOT_A_NUMBER", text=value[:80])
        return bounded(int(value))
    if isinstance(value, int):
        return int(value)
    raise mismatch("int", value)


def _bool(meter: Meter, value: Value = False) -> bool:
    return bool(value)


def _elements(meter: Meter, value: Value, what: str) -> Sequence[Value]:
    if isinstance(value, StarList | StarDict):
        meter.visit(len(value))
        return list(value)
    raise mismatch(what, value)


def _list(meter: Meter, value: Value | None = None) -> StarList:
    return new_list(meter, [] if value is None else list(_elements(meter, value, "list")))


def _dict(meter: Meter, value: Value | None = None) -> StarDict:
    made = StarDict()
    meter.allocate(CELL_BYTES)
    if value is not None:
        if not isinstance(value, StarDict):
            raise mismatch("dict", value)
        copy_entries(meter, made, value)
    return made


def _type(meter: Meter, value: Value) -> str:
    return type_name(value)


def _abs(meter: Meter, value: Value) -> int:
    if type(value) is int:
        return abs(value)
    raise mismatch("abs", value)


def _any(meter: Meter, value: Value) -> bool:
    return any(map(bool, _elements(meter, value, "any")))


def _all(meter: Meter, value: Value) -> bool:
    return all(map(bool, _elements(meter, value, "all")))


def _keyed(
    meter: Meter, values: Value, key: KeyFunction | None, what: str
) -> list[tuple[Any, Value]]:
    """Each element beside what it is ordered by; all of these are ints, or all strings."""
    elements = _elements(meter, values, what)
    if key is not None and not callable(key):
        raise mismatch(what, key)
    pairs = [(element if key is None else key(element), element) for element in elements]
    for order, _ in pairs:
        if type(order) not in (int, str) or type(order) is not type(pairs[0][0]):
            raise mismatch(what, order, pairs[0][0])
        meter.touch(len(order) if isinstance(order, str) else 0)
    meter.charge(meter.table.element * len(pairs) * len(pairs).bit_length())
    return pairs


def _least(meter: Meter, values: Value, key: KeyFunction | None = None) -> Value:
    return _extreme(meter, values, key, "min", lambda one, other: one < other)


def _most(meter: Meter, values: Value, key: KeyFunction | None = None) -> Value:
    return _extreme(meter, values, key, "max", lambda one, other: one > other)


def _extreme(
    meter: Meter,
    values: Value,
    key: KeyFunction | None,
    what: str,
    better: Callable[[Any, Any], bool],
) -> Value:
    pairs = _keyed(meter, values, key, what)
    if not pairs:
        raise ContractError("CONTRACT_VALUE_MISSING", method=what)
    best = pairs[0]
    for pair in pairs[1:]:
        if better(pair[0], best[0]):
            best = pair
    return best[1]


def _sorted(
    meter: Meter, values: Value, key: KeyFunction | None = None, reverse: Value = False
) -> StarList:
    """Stable, also where it is reversed."""
    pairs = _keyed(meter, values, key, "sorted")
    backwards = bool(reverse)

    def compare(one: tuple[Any, Value], other: tuple[Any, Value]) -> int:
        order = int(one[0] > other[0]) - int(one[0] < other[0])
        return -order if backwards else order

    pairs.sort(key=cmp_to_key(compare))
    return new_list(meter, [element for _, element in pairs])


def _reversed(meter: Meter, values: Value) -> StarList:
    return new_list(meter, list(_elements(meter, values, "reversed"))[::-1])


def _enumerate(meter: Meter, values: Value, start: Value = 0) -> StarList:
    if type(start) is not int:
        raise mismatch("enumerate", start)
    elements = _elements(meter, values, "enumerate")
    pairs: list[Value] = [
        new_list(meter, [bounded(start + number), element])
        for number, element in enumerate(elements)
    ]
    return new_list(meter, pairs)


def _zip(meter: Meter, one: Value, other: Value) -> StarList:
    both = zip(_elements(meter, one, "zip"), _elements(meter, other, "zip"), strict=False)
    pairs: list[Value] = [new_list(meter, [first, second]) for first, second in both]
    return new_list(meter, pairs)


# --- The chain --------------------------------------------------------------------------------


def _readable(run: Run, key: Value) -> str:
    if type(key) is not str or not _matches_key(key):
        raise ContractError("CONTRACT_KEY_WRONG", maximum=KEY_LENGTH_MAX)
    if not key.startswith(run.access.readable):
        raise ContractError("CONTRACT_ACCESS_UNDECLARED", key=key[:128], write=False)
    return key


def _writable(run: Run, key: Value) -> str:
    if type(key) is not str or not _matches_key(key):
        raise ContractError("CONTRACT_KEY_WRONG", maximum=KEY_LENGTH_MAX)
    if not key.startswith(run.access.write):
        raise ContractError("CONTRACT_ACCESS_UNDECLARED", key=key[:128], write=True)
    return key


def _get(run: Run, key: Value) -> Value:
    name, meter = _readable(run, key), run.meter
    meter.charge(meter.table.read)
    return from_json(meter, run.host.get(name))


def _put(run: Run, key: Value, value: Value) -> None:
    name, meter = _writable(run, key), run.meter
    if value is None:
        raise mismatch("put", value)
    meter.charge(meter.table.write)
    run.host.put(name, to_json(meter, value))


def _delete(run: Run, key: Value) -> None:
    name = _writable(run, key)
    run.meter.charge(run.meter.table.write)
    run.host.delete(name)


def _scan(run: Run, prefix: Value, limit: Value) -> StarList:
    name = _readable(run, prefix)
    if type(limit) is not int or not 0 < limit <= SCAN_LIMIT_MAX:
        raise ContractError("CONTRACT_OUT_OF_RANGE", what="limit", max=SCAN_LIMIT_MAX)
    meter = run.meter
    meter.charge(meter.table.scan + meter.table.read * limit)
    found: list[Value] = [
        new_list(meter, [new_str(meter, key), from_json(meter, value)])
        for key, value in run.host.entries(name, limit)
    ]
    return new_list(meter, found)


def _emit(run: Run, topic: Value, body: Value) -> None:
    if not is_topic(topic):
        raise ContractError("CONTRACT_TOPIC_WRONG", topic=shown(topic))
    announce(run, topic, body)


def is_topic(topic: Value) -> TypeGuard[str]:
    """Whether a contract may announce under it."""
    is_one = isinstance(topic, str) and _TOPIC.fullmatch(topic) is not None
    return is_one and not str(topic).startswith("packet.")


def announce(run: Run, topic: str, body: Value) -> None:
    """`emit` under such a topic."""
    run.meter.charge(run.meter.table.emit)
    run.host.emit(topic, to_json(run.meter, body))


def _party(run: Run, party: Party | None) -> Value:
    if party is None:
        return None
    pay_list(run.meter, len(party.roles))
    return _facts_of(party)


@lru_cache(maxsize=PARTIES_MAX)
def _facts_of(party: Party) -> StarDict:
    """Frozen, so calls that know nothing of one another may have the same."""
    roles = StarList(sorted(party.roles))
    facts = StarDict([("did", party.did), ("organisation", party.organisation), ("roles", roles)])
    roles.holds = facts.holds = -1
    return facts


def _sender(run: Run) -> Value:
    return _party(run, run.host.sender())


def _checker(run: Run) -> Value:
    return _party(run, run.host.checker())


def _height(run: Run) -> int:
    return run.host.height()


def _block_time(run: Run) -> int:
    return run.host.block_time_ms()


def _business_time(run: Run) -> str | None:
    return run.host.business_time()


def is_code(code: Value) -> TypeGuard[str]:
    """Whether a contract may refuse with it."""
    return isinstance(code, str) and _CODE.fullmatch(code) is not None


def require(run: Run, condition: Value, code: Value, fields: Mapping[str, Value]) -> None:
    """Refuse, unless the condition is met."""
    if not is_code(code):
        raise ContractError("CONTRACT_CODE_WRONG", code=shown(code))
    if condition is True:
        return
    if condition is not False:
        raise mismatch("require", condition)
    facts = {name: to_json(run.meter, value) for name, value in fields.items()}
    raise ContractError.refusal(code, facts)


def _call(run: Run, contract: Value, method: Value, fields: dict[str, Value]) -> Value:
    if not isinstance(contract, str) or not isinstance(method, str):
        raise mismatch("call", contract, method)
    if not run.access.may_call(contract, method):
        facts = {"contract": contract[:64], "method": method[:64]}
        raise ContractError("CONTRACT_CALL_UNDECLARED", **facts)
    run.meter.charge(run.meter.table.call)
    run.meter.look_up()
    arguments = {name: to_json(run.meter, value) for name, value in fields.items()}
    return from_json(run.meter, run.host.call(contract, method, arguments))


def _sm3(run: Run, value: Value) -> str:
    if not isinstance(value, str):
        raise mismatch("sm3", value)
    data = value.encode("utf-8", "surrogatepass")
    run.meter.charge(run.meter.table.digest)
    run.meter.touch(len(data))
    return sm3(data).hex()


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "len": _len,
    "str": _str,
    "int": _int,
    "bool": _bool,
    "list": _list,
    "dict": _dict,
    "type": _type,
    "abs": _abs,
    "any": _any,
    "all": _all,
    "min": _least,
    "max": _most,
    "sorted": _sorted,
    "reversed": _reversed,
    "enumerate": _enumerate,
    "zip": _zip,
    "range": make_range,
    "get": _get,
    "put": _put,
    "delete": _delete,
    "scan": _scan,
    "emit": _emit,
    "sender": _sender,
    "checker": _checker,
    "height": _height,
    "block_time": _block_time,
    "business_time": _business_time,
    "require": require,
    "call": _call,
    "sm3": _sm3,
}
