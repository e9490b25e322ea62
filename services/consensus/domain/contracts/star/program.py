"""From the statements of a checked form to closures, and from its functions to programs.

Gas is charged before the work: a statement pays for all nodes that it evaluates in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from services.consensus.domain.contracts.star.blocks import (
    RETURNED,
    SIGNAL,
    Step,
    choice,
    in_turn,
)
from services.consensus.domain.contracts.star.comprehensions import binder, unpacker
from services.consensus.domain.contracts.star.expressions import Expressions
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.frames import (
    BREAK,
    CONTINUE,
    FRAME_HEAD,
    UNBOUND,
    Expression,
    Frame,
    Function,
    Run,
    Signal,
    Statement,
    literal,
)
from services.consensus.domain.contracts.star.gas import NAMES, GasTable, Meter
from services.consensus.domain.contracts.star.ir import Module, Node
from services.consensus.domain.contracts.star.methods import extend
from services.consensus.domain.contracts.star.names import HOST, Signature
from services.consensus.domain.contracts.star.operators import (
    BINARY,
    add,
    get_item,
    hold,
    release,
    set_item,
)
from services.consensus.domain.contracts.star.outline import Outline
from services.consensus.domain.contracts.star.values import (
    StarDict,
    StarList,
    Value,
    freeze,
    mismatch,
)


class Program:
    """A module ready to run; where it is watched, a run with `lines` counts gas by line.

    One that `remembers` keeps, within bounds, what its functions of one text came to that ask
    nothing of the chain. Whether anything was kept shows in nothing but time.
    """

    def __init__(
        self, module: Module, table: GasTable, *, watched: bool = False, remembers: bool = False
    ) -> None:
        assert not (watched and remembers), "what is not run again has no lines"
        self.module = module
        self.table = table
        self.remembers = remembers
        self.watched = watched
        self.node_price = table.node
        self.functions: dict[str, Function] = {}
        self.constants: dict[str, Value] = {}
        for constant in module.constants:
            self.constants[constant[2]] = freeze(literal(constant[3]))
        for node in module.functions:
            names = tuple(parameter[2] for parameter in node[3])
            defaults = [literal(part[3][0]) for part in node[3] if part[3]]
            required = len(names) - len(defaults)
            self.functions[node[2]] = Function(Signature(names, required), defaults)
        for name in _pure_of_one(module) if remembers else ():
            self.functions[name].remembered = {}
        for node in module.functions:
            function = self.functions[node[2]]
            _Compiler(self).compile(node, function)
            function.price = table.call + table.name * (function.size // NAMES)

    def call(self, run: Run, name: str, arguments: Mapping[str, Value]) -> Value:
        """Call a public function with named arguments; raises `ContractError`, `OutOfGas`."""
        function = None if name.startswith("_") else self.functions.get(name)
        if function is None:
            raise ContractError("METHOD_UNKNOWN", method=name[:64])
        assert not self.remembers or run.meter.table == self.table, "kept are sums of its prices"
        names = function.signature.names
        if arguments.keys() == function.names:
            return function.run(run, [arguments[parameter] for parameter in names])
        return function.run(run, _in_order(function, arguments))


def _pure_of_one(module: Module) -> list[str]:
    """The functions of one argument from which all that they come to follows: neither they nor what
    they call asks or tells the chain anything. A refusal is no result.
    """
    outline = Outline(module)
    return [
        name
        for name, function in outline.functions.items()
        if len(function.parameters) == 1
        and not any(each.calls & _OF_THE_CHAIN for each in outline.reached(name))
    ]


def _in_order(function: Function, arguments: Mapping[str, Value]) -> list[Value]:
    """The arguments as the parameters stand, with the defaults of those that were not given."""
    names, required = function.signature.names, function.signature.required
    unknown = sorted(arguments.keys() - names)
    if unknown:
        raise ContractError("CONTRACT_ARGUMENT_WRONG", argument=unknown[0][:64], why="unknown")
    for name in names[:required]:
        if name not in arguments:
            raise ContractError("CONTRACT_ARGUMENT_WRONG", argument=name, why="missing")
    absent = zip(names[required:], function.defaults, strict=True)
    return [
        *[arguments[name] for name in names[:required]],
        *[arguments.get(name, default) for name, default in absent],
    ]


class _Compiler(Expressions):
    """Compiles one function."""

    def compile(self, node: Node, function: Function) -> None:
        """Fill in the body."""
        for parameter in node[3]:
            self._bound.add(self._place(parameter[2]))
        function.body = self._block(node[4], is_body=True)
        function.size = self._size
        function.unset = (UNBOUND,) * (self._size - FRAME_HEAD - len(node[3]))

    # --- Statements ---------------------------------------------------------------------------

    def _block(self, nodes: list[Node], *, is_body: bool = False) -> Statement:
        """Statements in turn. What a block of a branch or a loop binds is bound within it alone."""
        bound = set(self._bound)
        statements = tuple(self._statement(node) for node in nodes)
        if not is_body:
            self._bound = bound
        return in_turn(statements)

    def _statement(self, node: Node) -> Step:
        """Its line, what it is paid before it runs, where its value goes, and what runs."""
        if self._known.watched:
            inner, nodes = _STATEMENTS[node[0]](self, node)
            line, price = node[1], self._known.node_price * nodes
            step: Step = (line, 0, SIGNAL, _watched(inner, line, price))
        else:
            step = self._step(node)
        if node[0] == "assign" and node[2][0] != "index":
            names = node[2][2:]
            self._bound.update(self._places[name] for name in names)
        return step

    def _step(self, node: Node) -> Step:
        """An assignment to a name, and a value to return, need no statement around the value."""
        price = self._known.node_price
        if node[0] == "return" and len(node) == 3:
            value, nodes = self._expr(node[2])
            return node[1], price * (1 + nodes), RETURNED, value
        if node[0] == "assign" and node[2][0] == "name":
            value, nodes = self._expr(node[3])
            return node[1], price * (2 + nodes), self._place(node[2][2]), value
        inner, nodes = _STATEMENTS[node[0]](self, node)
        return node[1], price * nodes, SIGNAL, inner

    def _assign(self, node: Node) -> tuple[Statement, int]:
        value, nodes = self._expr(node[3])
        if node[2][0] == "name":
            return self._assign_name(self._place(node[2][2]), value), 2 + nodes
        store, more = self._store(node[2])

        def assign(frame: Frame) -> Signal:
            store(frame, value(frame))
            return None

        return assign, 1 + nodes + more

    def _assign_name(self, place: int, value: Expression) -> Statement:
        def assign_name(frame: Frame) -> Signal:
            frame[place] = value(frame)
            return None

        return assign_name

    def _store(self, target: Node) -> tuple[Callable[[Frame, Value], None], int]:
        if target[0] == "index":
            of, first = self._expr(target[2])
            at, second = self._expr(target[3])

            def store_item(frame: Frame, value: Value) -> None:
                set_item(frame[0], of(frame), at(frame), value)

            return store_item, 1 + first + second
        places = [self._place(name) for name in target[2:]]
        return unpacker(places), len(places)

    def _augment(self, node: Node) -> tuple[Statement, int]:
        operate = add_in_place if node[2] == "+" else BINARY[node[2]]
        value, nodes = self._expr(node[4])
        target = node[3]
        if target[0] == "name":
            place, load = self._place(target[2]), self._local(target[2])

            def augment_name(frame: Frame) -> Signal:
                frame[place] = operate(frame[0], load(frame), value(frame))
                return None

            return augment_name, 3 + nodes
        of, first = self._expr(target[2])
        at, second = self._expr(target[3])

        def augment_item(frame: Frame) -> Signal:
            meter, container, place = frame[0], of(frame), at(frame)
            before = get_item(meter, container, place)
            set_item(meter, container, place, operate(meter, before, value(frame)))
            return None

        return augment_item, 4 + nodes + first + second

    def _do(self, node: Node) -> tuple[Statement, int]:
        value, nodes = self._expr(node[2])
        if node[2][0] == "call" and node[2][2] in _RETURN_NOTHING:
            return value, 1 + nodes

        def do(frame: Frame) -> Signal:
            value(frame)
            return None

        return do, 1 + nodes

    def _return(self, node: Node) -> tuple[Statement, int]:
        if len(node) == 2:
            return lambda frame: (None,), 1
        value, nodes = self._expr(node[2])
        return lambda frame: (value(frame),), 1 + nodes

    def _if(self, node: Node) -> tuple[Statement, int]:
        parts = node[2:]
        tests = [self._priced(each) for each in parts[:-1:2]]
        blocks = [self._block(each) for each in parts[1:-1:2]]
        branches = tuple((*test, block) for test, block in zip(tests, blocks, strict=True))
        otherwise = self._block(parts[-1]) if parts[-1] else None
        if len(branches) == 1:
            return choice(*branches[0], otherwise), 1

        def choose(frame: Frame) -> Signal:
            meter = frame[0]
            for price, test, block in branches:
                meter.gas = gas = meter.gas - price
                if gas < 0:
                    raise OutOfGas
                if test(frame):
                    return block(frame)
            return None if otherwise is None else otherwise(frame)

        return choose, 1

    def _for(self, node: Node) -> tuple[Statement, int]:
        over, nodes = self._over(node[3])
        places = [self._place(name) for name in node[2]]
        bind, bound = binder(places), set(self._bound)
        self._bound.update(places)
        body = self._block(node[4])
        self._bound = bound

        def loop(frame: Frame) -> Signal:
            meter, values = frame[0], over(frame)
            items = hold(values)
            try:
                for item in items:
                    meter.charge(meter.table.element)
                    bind(frame, item)
                    signal = body(frame)
                    if signal is None or signal is CONTINUE:
                        continue
                    return None if signal is BREAK else signal
            finally:
                release(values)
            return None

        return loop, 1 + nodes

    def _pass(self, node: Node) -> tuple[Statement, int]:
        signal = {"pass": None, "break": BREAK, "continue": CONTINUE}[node[0]]
        return lambda frame: signal, 1


def _watched(statement: Statement, line: int, price: int) -> Statement:
    """The statement, paid for by itself, whose gas is counted for its line."""

    def watched(frame: Frame) -> Signal:
        lines = frame[1].lines
        lines.enter(line)
        try:
            frame[0].charge(price)
            return statement(frame)
        finally:
            lines.leave()

    return watched


def add_in_place(meter: Meter, left: Value, right: Value) -> Value:
    """`left += right`: a list is extended, and whoever else knows it sees that."""
    if isinstance(left, StarList):
        if not isinstance(right, StarList | StarDict):
            raise mismatch("+=", left, right)
        extend(meter, left, right)
        return left
    return add(meter, left, right)


_OF_THE_CHAIN: Final = HOST.keys() - {"require", "sm3"}
_RETURN_NOTHING: Final = frozenset({"put", "delete", "emit", "require"})
"""Builtins, whose None is a statement's "go on"."""

_STATEMENTS: Final[dict[str, Callable[[_Compiler, Node], tuple[Statement, int]]]] = {
    "assign": _Compiler._assign,
    "augment": _Compiler._augment,
    "do": _Compiler._do,
    "return": _Compiler._return,
    "if": _Compiler._if,
    "for": _Compiler._for,
    "pass": _Compiler._pass,
    "break": _Compiler._pass,
    "continue": _Compiler._pass,
}
