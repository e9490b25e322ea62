"""From the expressions of a checked form to closures: one for each node, made once.

What an expression evaluates in any case is paid by its statement; what it evaluates on a condition,
or again and again, pays for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, Protocol

from services.consensus.domain.contracts.star.builtins import FUNCTIONS, is_code, is_topic
from services.consensus.domain.contracts.star.calls import applied, method, own
from services.consensus.domain.contracts.star.comprehensions import binder, charged, comprehend
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.frames import (
    FRAME_HEAD,
    UNBOUND,
    Expression,
    Frame,
    Function,
    literal,
)
from services.consensus.domain.contracts.star.fused import (
    FUSED,
    FUSED_BUILTINS,
    FUSED_TO_TEXT,
    Priced,
    all_of,
    announcement,
    any_of,
    item,
    member,
    member_at,
    plain_record,
    record,
    requirement,
)
from services.consensus.domain.contracts.star.gas import KEY_FREE
from services.consensus.domain.contracts.star.ir import Node
from services.consensus.domain.contracts.star.names import BUILTINS, HOST, Signature
from services.consensus.domain.contracts.star.names import METHODS as METHOD_SIGNATURES
from services.consensus.domain.contracts.star.operators import (
    BINARY,
    COMPARED,
    get_slice,
    make_range,
    negative,
    positive,
)
from services.consensus.domain.contracts.star.shapes import LITERALS
from services.consensus.domain.contracts.star.values import (
    CELL_BYTES,
    CONTAINER_LENGTH_MAX,
    StarDict,
    Value,
    check_key,
    new_list,
    set_entry,
    shown,
)


class Known(Protocol):
    """What a function's code may refer to, and what a node costs."""

    functions: dict[str, Function]
    constants: dict[str, Value]
    node_price: int
    watched: bool


class Expressions:
    """Compiles the expressions of one function."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._places: dict[str, int] = {}
        self._bound: set[int] = set()
        """Places that have a value whenever what is compiled next runs: nothing unsets a name."""
        self._size = FRAME_HEAD

    def _place(self, name: str) -> int:
        """The number of a local, new where the name has none."""
        if name not in self._places:
            self._places[name] = self._size
            self._size += 1
        return self._places[name]

    # --- Expressions --------------------------------------------------------------------------

    def _expr(self, node: Node) -> tuple[Expression, int]:
        """The expression, and how many nodes it evaluates in any case."""
        return _EXPRESSIONS[node[0]](self, node)

    def _all(self, nodes: list[Node]) -> tuple[tuple[Expression, ...], int]:
        pairs = [self._expr(node) for node in nodes]
        return tuple(each for each, _ in pairs), sum(count for _, count in pairs)

    def _priced(self, node: Node) -> Priced:
        """An expression that is evaluated on a condition, and what it is paid before."""
        inner, nodes = self._expr(node)
        return self._known.node_price * nodes, inner

    def _paid(self, node: Node) -> Expression:
        """An expression that pays for itself: it is evaluated on a condition, or again."""
        price, inner = self._priced(node)

        def paid(frame: Frame) -> Value:
            meter = frame[0]
            meter.gas = gas = meter.gas - price
            if gas < 0:
                raise OutOfGas
            return inner(frame)

        return paid

    def _over(self, node: Node) -> tuple[Callable[[Frame], Any], int]:
        """What a `for` iterates over; a range is none of the contract's values."""
        if node[0] != "call" or node[2] != "range":
            return self._expr(node)
        arguments, nodes = self._all(node[4:])

        def over_range(frame: Frame) -> range:
            return make_range([each(frame) for each in arguments])

        return over_range, 1 + nodes

    def _constant(self, node: Node) -> tuple[Expression, int]:
        value = literal(node)
        return lambda frame: value, 1

    def _name(self, node: Node) -> tuple[Expression, int]:
        name = node[2]
        if name in self._places or name not in self._known.constants:
            return self._local(name), 1
        value = self._known.constants[name]
        return lambda frame: value, 1

    def _local(self, name: str) -> Expression:
        place = self._place(name)
        if place in self._bound:
            return itemgetter(place)

        def load(frame: Frame) -> Value:
            value: Value = frame[place]
            if value is UNBOUND:
                raise ContractError("CONTRACT_NAME_UNSET", name=name)
            return value

        return load

    def _list(self, node: Node) -> tuple[Expression, int]:
        parts, nodes = self._all(node[2:])
        return lambda frame: new_list(frame[0], [each(frame) for each in parts]), 1 + nodes

    def _dict(self, node: Node) -> tuple[Expression, int]:
        keys, first = self._all(node[2::2])
        values, second = self._all(node[3::2])
        nodes = 1 + first + second
        entries = tuple(zip(keys, values, strict=True))
        if _are_members(node[2::2]):
            return self._record([key[2] for key in node[2::2]], values, node[3::2]), nodes

        def make(frame: Frame) -> Value:
            made, meter = StarDict(), frame[0]
            meter.allocate(CELL_BYTES)
            for key, value in entries:
                place = check_key(key(frame))
                if place in made:
                    raise ContractError("CONTRACT_KEY_TWICE", key=shown(place))
                set_entry(meter, made, place, value(frame))
            return made

        return make, nodes

    def _record(
        self, names: list[str], values: tuple[Expression, ...], nodes: list[Node]
    ) -> Expression:
        """A dict of members that are spelled out."""
        members = tuple(zip(names, values, strict=True))
        return (plain_record if all(map(self._is_plain, nodes)) else record)(members)

    def _infix(self, node: Node) -> tuple[Expression, int]:
        operate = (BINARY if node[0] == "binary" else COMPARED)[node[2]]
        left, first = self._expr(node[3])
        right, second = self._expr(node[4])
        nodes = 1 + first + second
        if node[4][0] == "str" and node[2] in FUSED_TO_TEXT:
            return FUSED_TO_TEXT[node[2]](left, node[4][2]), nodes
        fuse = FUSED.get(node[2])
        if fuse is not None:
            return fuse(left, right), nodes
        if node[4][0] in LITERALS:
            value = literal(node[4])
            return lambda frame: operate(frame[0], left(frame), value), nodes
        if node[3][0] in LITERALS:
            value = literal(node[3])
            return lambda frame: operate(frame[0], value, right(frame)), nodes
        return lambda frame: operate(frame[0], left(frame), right(frame)), nodes

    def _unary(self, node: Node) -> tuple[Expression, int]:
        value, nodes = self._expr(node[2])
        if node[0] == "not":
            return lambda frame: not value(frame), 1 + nodes
        operate = negative if node[0] == "negative" else positive
        return lambda frame: operate(value(frame)), 1 + nodes

    def _logic(self, node: Node) -> tuple[Expression, int]:
        first, nodes = self._expr(node[2])
        others = tuple(self._priced(each) for each in node[3:])
        fuse = all_of if node[0] == "and" else any_of
        return fuse(first, others), 1 + nodes

    def _choose(self, node: Node) -> tuple[Expression, int]:
        test, nodes = self._expr(node[2])
        yes, no = self._paid(node[3]), self._paid(node[4])
        return lambda frame: yes(frame) if test(frame) else no(frame), 1 + nodes

    def _is_plain(self, node: Node) -> bool:
        """Whether to evaluate it costs nothing and cannot fail, so that nobody sees when it is, or
        whether.
        """
        if node[0] != "name":
            return node[0] in LITERALS
        is_constant = node[2] not in self._places and node[2] in self._known.constants
        return is_constant or self._bound_place(node) is not None

    def _bound_place(self, node: Node) -> int | None:
        """Where the value of a name stands that has one by now; None for any other expression."""
        place = self._places.get(node[2]) if node[0] == "name" else None
        return place if place in self._bound else None

    def _index(self, node: Node) -> tuple[Expression, int]:
        of, first = self._expr(node[2])
        if node[3][0] == "str" and len(node[3][2]) <= KEY_FREE:
            place = self._bound_place(node[2])
            name = node[3][2]
            return (member(of, name) if place is None else member_at(place, name)), 2 + first
        at, second = self._expr(node[3])
        return item(of, at), 1 + first + second

    def _slice(self, node: Node) -> tuple[Expression, int]:
        parts, nodes = self._all(node[2:])
        return lambda frame: get_slice(frame[0], *[each(frame) for each in parts]), 1 + nodes

    def _call(self, node: Node) -> tuple[Expression, int]:
        name, keywords, given = node[2], node[3], node[4:]
        function = self._known.functions.get(name)
        if function is not None:
            return self._call_own(function, keywords, given)
        if name in ("require", "call"):
            return self._call_open(name, keywords, given)
        arguments, nodes = self._arguments(BUILTINS[name], keywords, given)
        if name in FUSED_BUILTINS:
            return FUSED_BUILTINS[name](arguments[0]), 1 + nodes
        if name == "emit" and not keywords and given[0][0] == "str" and is_topic(given[0][2]):
            return announcement(given[0][2], arguments[1]), 1 + nodes
        builtin: Callable[..., Value] = FUNCTIONS[name]
        return applied(builtin, 1 if name in HOST else 0, arguments), 1 + nodes

    def _call_own(
        self, function: Function, keywords: list[str], given: list[Node]
    ) -> tuple[Expression, int]:
        arguments, nodes = self._arguments(function.signature, keywords, given, function.defaults)
        return own(function, arguments), 1 + nodes

    def _call_open(
        self, name: str, keywords: list[str], given: list[Node]
    ) -> tuple[Expression, int]:
        """`require` and `call`: two by place, any others by name."""
        values, nodes = self._all(given)
        first, second, *others = values
        builtin: Callable[..., Value] = FUNCTIONS[name]

        pairs = tuple(zip(keywords, others, strict=True))
        if name == "require" and self._is_plain_refusal(given):
            return requirement(first, given[1][2], pairs), 1 + nodes
        if not keywords:
            return lambda frame: builtin(frame[1], first(frame), second(frame), {}), 1 + nodes

        def call_open(frame: Frame) -> Value:
            one, two = first(frame), second(frame)
            return builtin(frame[1], one, two, {name: each(frame) for name, each in pairs})

        return call_open, 1 + nodes

    def _is_plain_refusal(self, given: list[Node]) -> bool:
        """Whether a code is spelled out, and facts need not be looked at before they are told."""
        _, code, *facts = given
        return code[0] == "str" and is_code(code[2]) and all(map(self._is_plain, facts))

    def _arguments(
        self,
        signature: Signature,
        keywords: list[str],
        given: list[Node],
        defaults: list[Value] | None = None,
    ) -> tuple[tuple[Expression, ...], int]:
        """One expression for each parameter that has a value, in their order; what is written is
        evaluated from left to right all the same.
        """
        values, nodes = self._all(given)
        names = (*signature.names[: len(given) - len(keywords)], *keywords)
        by_name = dict(zip(names, values, strict=True))
        ordered = sorted(names, key=signature.names.index)
        if ordered != list(names):
            by_name = self._as_written(by_name, ordered[0])
        arguments: list[Expression] = []
        for number, name in enumerate(signature.names):
            if name in by_name:
                arguments.append(by_name[name])
            elif defaults is not None:
                arguments.append(_always(defaults[number - signature.required]))
            else:
                arguments.append(_NOTHING)
        while defaults is None and arguments and arguments[-1] is _NOTHING:
            arguments.pop()
        return tuple(arguments), nodes

    def _as_written(self, by_name: dict[str, Expression], foremost: str) -> dict[str, Expression]:
        """The same for parameters in another order: the foremost, which is asked for first,
        evaluates all as they are written and leaves each in a place of the frame.
        """
        written = tuple(by_name.values())
        places = {name: self._size + number for number, name in enumerate(by_name)}
        begin, asked = self._size, places[foremost]
        self._size += len(written)

        def first(frame: Frame) -> Value:
            for place, each in enumerate(written, begin):
                frame[place] = each(frame)
            value: Value = frame[asked]
            return value

        later: dict[str, Expression] = {name: itemgetter(place) for name, place in places.items()}
        return {**later, foremost: first}

    def _method(self, node: Node) -> tuple[Expression, int]:
        name = node[2]
        receiver, first = self._expr(node[4])
        arguments, second = self._arguments(METHOD_SIGNATURES[name], node[3], node[5:])
        return method(name, receiver, arguments), 2 + first + second

    # --- What has names of its own --------------------------------------------------------------

    def _scoped(self, names: list[str]) -> dict[str, int | None]:
        """Give names places of their own; returns what they stood for."""
        before = {name: self._places.pop(name, None) for name in names}
        for name in names:
            self._place(name)
        return before

    def _unscoped(self, before: Mapping[str, int | None]) -> None:
        for name, place in before.items():
            del self._places[name]
            if place is not None:
                self._places[name] = place

    def _lambda(self, node: Node) -> tuple[Expression, int]:
        before = self._scoped([node[2]])
        place = self._places[node[2]]
        self._bound.add(place)
        body = self._paid(node[3])
        self._unscoped(before)

        def make(frame: Frame) -> Any:
            def key(item: Value) -> Value:
                frame[place] = item
                return body(frame)

            return key

        return make, 1

    def _comprehension(self, node: Node) -> tuple[Expression, int]:
        scopes: list[Mapping[str, int | None]] = []
        steps: list[tuple[Callable[[Frame], Any] | None, Any]] = []
        nodes = 1
        for clause in node[2]:
            if clause[0] == "if":
                steps.append((None, self._paid(clause[2])))
                continue
            over, count = self._over(clause[3])
            if scopes:
                over = charged(over, self._known.node_price * count)
            else:
                nodes += count
            scopes.append(self._scoped(clause[2]))
            places = [self._places[name] for name in clause[2]]
            self._bound.update(places)
            steps.append((over, binder(places)))
        made = [self._paid(each) for each in node[3:]]
        for scope in reversed(scopes):
            self._unscoped(scope)
        return comprehend(steps, made), nodes


def _are_members(keys: list[Node]) -> bool:
    """Whether keys are spelled out, no two alike, and short enough to cost nothing."""
    names = [key[2] for key in keys if key[0] == "str" and len(key[2]) <= KEY_FREE]
    return len(set(names)) == len(keys) <= CONTAINER_LENGTH_MAX


def _nothing(frame: Frame) -> Value:
    return None


_NOTHING: Final = _nothing
"""Stands for an argument that was not given."""


def _always(value: Value) -> Expression:
    return lambda frame: value


_EXPRESSIONS: Final[dict[str, Callable[[Expressions, Node], tuple[Expression, int]]]] = {
    "int": Expressions._constant,
    "str": Expressions._constant,
    "bool": Expressions._constant,
    "none": Expressions._constant,
    "name": Expressions._name,
    "list": Expressions._list,
    "dict": Expressions._dict,
    "binary": Expressions._infix,
    "negative": Expressions._unary,
    "positive": Expressions._unary,
    "not": Expressions._unary,
    "and": Expressions._logic,
    "or": Expressions._logic,
    "compare": Expressions._infix,
    "choose": Expressions._choose,
    "index": Expressions._index,
    "slice": Expressions._slice,
    "call": Expressions._call,
    "method": Expressions._method,
    "list_of": Expressions._comprehension,
    "dict_of": Expressions._comprehension,
    "lambda": Expressions._lambda,
}
