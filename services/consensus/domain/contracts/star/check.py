"""Whether a canonical form is star/1: its shape, its names, its calls and its bounds.

The form may come from anybody: every part of it is looked at before anything is compiled. What the
chain and the tools refuse, they refuse here, by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from guqiao_sdk.proof.json_values import (
    DEPTH_BOUND,
    Json,
    JsonError,
    canonical_json,
    parse_json_strict,
)
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import (
    ENGINE,
    EXPRESSION_DEPTH_MAX,
    IR_BYTES_MAX,
    STATEMENT_DEPTH_MAX,
    Access,
    Module,
    Node,
)
from services.consensus.domain.contracts.star.names import (
    BUILTINS,
    KEYED,
    METHODS,
    OPEN_KEYWORDS,
    Signature,
)
from services.consensus.domain.contracts.star.shapes import (
    EXPRESSIONS,
    LITERALS,
    STATEMENTS,
    TARGETS,
    Shapes,
)
from services.consensus.domain.contracts.star.values import INT_BOUND, KEY_INT_BOUND, STR_LENGTH_MAX

_INT: Final = re.compile(r"0|[1-9][0-9]{0,76}")
_BINARY: Final = frozenset({"+", "-", "*", "//", "%"})
_COMPARED: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "not in"})
_CLAUSES_MAX: Final = 2
_PREFIXES_MAX: Final = 64
_PREFIX: Final = re.compile("(?s:.{1,128})")
_CALLED: Final = re.compile(r"[a-z][a-z0-9_]{2,63}\.[a-z][a-z0-9_]{0,63}")
_ACCESS: Final = {"read": _PREFIX, "write": _PREFIX, "call": _CALLED}
"""What ACCESS declares: prefixes of keys, and methods of other contracts, which may be left out."""
_FUNCTIONS_MAX: Final = 256
STACK_MAX: Final = 400
"""Frames of the evaluator that a call may need, over all functions that call one another."""
_FRAMES_OF_CALL: Final = 6

_CALL_PARTS: Final = 3
"""Kind, line and name: a call has its keywords behind them."""


def check(form: Json, columns: Mapping[int, int] | None = None) -> Module:
    """The module that a form is; raises `SourceError`. `columns` say where nodes stand, by id."""
    return _Check(columns or {}).module(form)


def read_form(data: bytes) -> Module:
    """The module whose canonical form these bytes are, in whichever spelling; raises `SourceError`.

    Of what nobody compiles here no column is known.
    """
    try:
        form = parse_json_strict(data, depth_max=DEPTH_BOUND, size_max=IR_BYTES_MAX)
    except JsonError as error:
        raise SourceError("form", 0, why=str(error)[:200]) from None
    return check(form)


def _opened(form: Json) -> dict[str, Any]:
    """The outermost dict, of this engine and within its bounds."""
    if not isinstance(form, dict) or set(form) != {"engine", "constants", "functions"}:
        raise SourceError("form", 0)
    if form["engine"] != ENGINE:
        raise SourceError("engine", 0, engine=str(form["engine"])[:64])
    try:
        size = len(canonical_json(form))
    except JsonError as error:
        raise SourceError("form", 0, why=str(error)[:100]) from None
    if size > IR_BYTES_MAX:
        raise SourceError("large", 0, bytes=size, max=IR_BYTES_MAX)
    constants, functions = form["constants"], form["functions"]
    if not isinstance(constants, list) or not isinstance(functions, list):
        raise SourceError("form", 0)
    if len(functions) > _FUNCTIONS_MAX:
        raise SourceError("large", 0, functions=len(functions), max=_FUNCTIONS_MAX)
    return form


class _Check(Shapes):
    def __init__(self, columns: Mapping[int, int]) -> None:
        super().__init__(columns)
        self._calls: dict[str, list[tuple[str, Node]]] = {}
        self._calling: list[tuple[str, Node]] = []
        self._names: set[str] = set()
        self._loops = 0
        self._frames: dict[str, int] = {}
        self._deepest = 0

    def module(self, form: Json) -> Module:
        """Check all of it."""
        whole = _opened(form)
        for constant in whole["constants"]:
            self._constant(self._node(constant, {"constant": 2}))
        functions = whole["functions"]
        for function in functions:
            self._signature(self._node(function, {"function": 3}))
        for function in functions:
            self._function(self._node(function, {"function": 3}))
        frames = self._check_recursion()
        return Module(whole, self._access(), frames)

    # --- The top level ------------------------------------------------------------------------

    def _constant(self, node: Node) -> None:
        name = self._new_name(node[2], node)
        if name in self._constants:
            self._refuse("duplicate", node, name=name)
        self._literal(node[3], 0)
        self._constants[name] = node[3]

    def _literal(self, value: Any, depth: int) -> None:
        kinds = {*LITERALS, "list", "dict", "negative"}
        node = self._node(value, EXPRESSIONS)
        if node[0] not in kinds:
            self._refuse("constant", node)
        if depth >= EXPRESSION_DEPTH_MAX:
            self._refuse("deep", node)
        if node[0] in ("list", "dict", "negative"):
            if node[0] == "dict" and len(node) % 2:
                self._refuse("form", node)
            for part in node[2:]:
                self._literal(part, depth + 1)
            for key in node[2::2] if node[0] == "dict" else ():
                self._literal_key(key)
            if node[0] == "negative" and node[2][0] != "int":
                self._refuse("constant", node)
        else:
            self._expression(node, depth)

    def _literal_key(self, key: Node) -> None:
        """A string or a number that a dict can have as key: a call would find out too late."""
        number = key[2] if key[0] == "negative" else key
        is_int = number[0] == "int" and int(number[2]) < KEY_INT_BOUND
        if key[0] != "str" and not is_int:
            self._refuse("constant", key)

    def _signature(self, node: Node) -> None:
        name = self._new_name(node[2], node)
        if name in self._functions or name in self._constants:
            self._refuse("duplicate", node, name=name)
        names: list[str] = []
        defaults = 0
        for value in self._list(node[3], node):
            parameter = self._node(value, {"parameter": 2})
            names.append(self._new_name(parameter[2], parameter))
            default = self._list(parameter[3], parameter)
            if len(default) > 1 or (defaults and not default):
                self._refuse("form", parameter)
            if default:
                defaults += 1
                literal = self._node(default[0], LITERALS)
                self._expression(literal, 0)
        if len(set(names)) != len(names):
            self._refuse("duplicate", node)
        self._functions[name] = Signature(tuple(names), len(names) - defaults)

    def _function(self, node: Node) -> None:
        name = node[2]
        for parameter in node[3]:
            if parameter[2] in self._constants or parameter[2] in self._functions:
                self._refuse("name_reserved", parameter, name=parameter[2])
        self._names = {parameter[2] for parameter in node[3]}
        self._calling = self._calls.setdefault(name, [])
        self._deepest = 0
        self._collect(self._list(node[4], node), node, 0)
        self._block(node[4], node)
        self._frames[name] = self._deepest + 2 * STATEMENT_DEPTH_MAX + _FRAMES_OF_CALL

    def _collect(self, block: list[Any], at: Node, depth: int) -> None:
        """The names that a function assigns are its own, wherever it does."""
        if depth > STATEMENT_DEPTH_MAX:
            self._refuse("deep", at)
        if not block and at[0] != "if":
            self._refuse("form", at)
        for value in block:
            statement = self._node(value, STATEMENTS)
            if statement[0] == "assign":
                self._collect_target(self._node(statement[2], TARGETS))
            elif statement[0] == "augment":
                self._collect_target(self._node(statement[3], TARGETS))
            for inner in self._blocks_of(statement):
                self._collect(inner, statement, depth + 1)

    def _blocks_of(self, statement: Node) -> list[list[Any]]:
        """The blocks inside a statement; the names of a loop are collected on the way."""
        if statement[0] == "for":
            self._names.update(self._new_names(statement[2], statement))
            return [self._list(statement[4], statement)]
        if statement[0] != "if":
            return []
        parts = statement[2:]
        if len(parts) < 3 or len(parts) % 2 == 0:
            self._refuse("form", statement)
        return [self._list(inner, statement) for inner in [*parts[1:-1:2], parts[-1]]]

    def _collect_target(self, target: Node) -> None:
        if target[0] == "name":
            self._names.update(self._new_names([target[2]], target))
        elif target[0] == "unpack":
            self._names.update(self._new_names(target[2:], target))

    def _check_recursion(self) -> dict[str, int]:
        needed: dict[str, int] = {}
        for name in self._calls:
            self._visit(name, [], needed)
        return needed

    def _visit(self, name: str, path: list[str], needed: dict[str, int]) -> int:
        """How many frames calling a function needs."""
        if name in needed:
            return needed[name]
        most = 0
        for called, at in self._calls[name]:
            if called in [*path, name]:
                self._refuse("recursion", at, function=called)
            most = max(most, self._visit(called, [*path, name], needed))
            if most + self._frames[name] > STACK_MAX:
                self._refuse("deep", at, calls=len(path) + 1)
        needed[name] = most + self._frames[name]
        return needed[name]

    def _access(self) -> Access:
        declared = self._constants.get("ACCESS")
        if declared is None:
            return Access((), ())
        found: dict[str, tuple[str, ...]] = {}
        if declared[0] != "dict":
            self._refuse("access", declared)
        for key, value in zip(declared[2::2], declared[3::2], strict=True):
            parts = value[2:] if value[0] == "list" else []
            texts = [part[2] for part in parts if part[0] == "str"]
            whole = value[0] == "list" and len(texts) == len(parts) <= _PREFIXES_MAX
            form = _ACCESS.get(key[2]) if key[0] == "str" and key[2] not in found else None
            if form is None or not whole or not all(map(form.fullmatch, texts)):
                self._refuse("access", declared)
            found[key[2]] = tuple(texts)
        if not {"read", "write"} <= set(found):
            self._refuse("access", declared)
        return Access(found["read"], found["write"], found.get("call", ()))

    # --- Statements ---------------------------------------------------------------------------

    def _block(self, block: list[Any], at: Node) -> None:
        for statement in block:
            _CHECK_STATEMENT[statement[0]](self, statement)

    def _assign(self, node: Node) -> None:
        self._target(node[2], "name", "index", "unpack")
        self._expression(node[3], 0)

    def _augment(self, node: Node) -> None:
        self._is_symbol(node, _BINARY)
        self._target(node[3], "name", "index")
        self._expression(node[4], 0)

    def _target(self, target: Node, *kinds: str) -> None:
        if target[0] not in kinds:
            self._refuse("assignment", target)
        if target[0] == "index":
            self._expression(target[2], 1)
            self._expression(target[3], 1)

    def _do(self, node: Node) -> None:
        self._expression(node[2], 0)

    def _return(self, node: Node) -> None:
        if len(node) > 3:
            self._refuse("form", node)
        for part in node[2:]:
            self._expression(part, 0)

    def _if(self, node: Node) -> None:
        parts = node[2:]
        for test in parts[:-1:2]:
            self._expression(test, 0)
        for inner in [*parts[1:-1:2], parts[-1]]:
            self._block(inner, node)

    def _for(self, node: Node) -> None:
        self._over(node[3], 0)
        self._loops += 1
        self._block(node[4], node)
        self._loops -= 1

    def _leave(self, node: Node) -> None:
        if self._loops == 0:
            self._refuse("break", node)

    def _pass(self, node: Node) -> None:
        """Nothing to look at."""

    # --- Expressions --------------------------------------------------------------------------

    def _over(self, value: Any, depth: int) -> None:
        """What a `for` iterates over: here alone may `range` stand."""
        node = self._node(value, EXPRESSIONS)
        if node[0] == "call" and len(node) > _CALL_PARTS and node[2] == "range":
            self._arguments(node, Signature(("start", "stop", "step"), 1), node[3], node[4:], depth)
            if node[3]:
                self._refuse("argument", node)
            return
        self._expression(node, depth)

    def _expression(self, value: Any, depth: int) -> None:
        node = self._node(value, EXPRESSIONS)
        if depth > EXPRESSION_DEPTH_MAX:
            self._refuse("deep", node)
        self._deepest = max(self._deepest, depth)
        _CHECK_EXPRESSION[node[0]](self, node, depth + 1)

    def _all(self, values: list[Any], depth: int) -> None:
        for value in values:
            self._expression(value, depth)

    def _int(self, node: Node, _: int) -> None:
        digits = node[2]
        if not isinstance(digits, str) or not _INT.fullmatch(digits):
            self._refuse("integer", node)
        if int(digits) >= INT_BOUND:
            self._refuse("integer", node)

    def _str(self, node: Node, _: int) -> None:
        if not isinstance(node[2], str) or len(node[2]) > STR_LENGTH_MAX:
            self._refuse("string", node)

    def _bool(self, node: Node, _: int) -> None:
        if type(node[2]) is not bool:
            self._refuse("form", node)

    def _none(self, node: Node, _: int) -> None:
        """Nothing to look at."""

    def _name(self, node: Node, _: int) -> None:
        name = self._identifier(node[2], node)
        if name not in self._names and name not in self._constants:
            self._refuse("name", node, name=name)

    def _parts(self, node: Node, depth: int) -> None:
        if node[0] == "dict" and len(node) % 2:
            self._refuse("form", node)
        if node[0] in ("and", "or") and len(node) < 4:
            self._refuse("form", node)
        self._all(node[2:], depth)

    def _symbol(self, node: Node, depth: int) -> None:
        self._is_symbol(node, _BINARY if node[0] == "binary" else _COMPARED)
        self._all(node[3:], depth)

    def _is_symbol(self, node: Node, known: frozenset[str]) -> None:
        if not isinstance(node[2], str) or node[2] not in known:
            self._refuse("operator", node)

    def _call(self, node: Node, depth: int) -> None:
        if len(node) < 4:
            self._refuse("form", node)
        name = self._identifier(node[2], node)
        if name == "range":
            self._refuse("range", node)
        signature = BUILTINS.get(name) or self._functions.get(name)
        if signature is None:
            self._refuse("name", node, name=name)
        if name in self._functions:
            self._calling.append((name, node))
        self._arguments(node, signature, node[3], node[4:], depth, is_open=name in OPEN_KEYWORDS)

    def _method(self, node: Node, depth: int) -> None:
        if len(node) < 5:
            self._refuse("form", node)
        name = self._identifier(node[2], node)
        signature = METHODS.get(name)
        if signature is None:
            self._refuse("attribute", node, name=name)
        self._expression(node[4], depth)
        self._arguments(node, signature, node[3], node[5:], depth)

    def _arguments(
        self,
        node: Node,
        signature: Signature,
        named: Any,
        values: list[Any],
        depth: int,
        *,
        is_open: bool = False,
    ) -> None:
        names = [self._identifier(each, node) for each in self._list(named, node)]
        given = len(values) - len(names)
        taken = set(signature.names[: max(given, 0)])
        known = is_open or all(name in signature.names for name in names)
        doubled = len(set(names)) != len(names) or not (is_open or taken.isdisjoint(names))
        missing = set(signature.names[: signature.required]) - taken - set(() if is_open else names)
        if not 0 <= given <= len(signature.names) or not known or doubled or missing:
            self._refuse("argument", node, function=node[2])
        for place, value in enumerate(values):
            name = names[place - given] if place >= given else ""
            is_key = name == "key" and node[0] == "call" and node[2] in KEYED
            if isinstance(value, list) and value and value[0] == "lambda" and is_key:
                self._lambda(self._node(value, EXPRESSIONS), depth)
            else:
                self._expression(value, depth)

    def _lambda(self, node: Node, depth: int) -> None:
        """Its parameter, constants and functions are all that it sees."""
        outside = self._names
        self._names = set(self._new_names([node[2]], node))
        try:
            self._expression(node[3], depth)
        except SourceError as error:
            if error.rule == "name" and error.fields.get("name") in outside:
                self._refuse("lambda", node, name=error.fields["name"])
            raise
        finally:
            self._names = outside

    def _stray_lambda(self, node: Node, _: int) -> None:
        self._refuse("lambda", node)

    def _comprehension(self, node: Node, depth: int) -> None:
        clauses = [self._node(each, {"for": 2, "if": 1}) for each in self._list(node[2], node)]
        loops = [clause for clause in clauses if clause[0] == "for"]
        if not clauses or clauses[0][0] != "for" or len(loops) > _CLAUSES_MAX:
            self._refuse("comprehension", node)
        outside = self._names
        self._names = set(outside)
        depth += 1 + len(loops)  # Frames that the evaluator takes for it.
        for clause in clauses:
            if clause[0] == "for":
                self._over(clause[3], depth)
                self._names |= set(self._new_names(clause[2], clause))
            else:
                self._expression(clause[2], depth)
        self._all(node[3:], depth)
        self._names = outside


_CHECK_STATEMENT: Final[dict[str, Callable[[_Check, Node], None]]] = {
    "assign": _Check._assign,
    "augment": _Check._augment,
    "do": _Check._do,
    "return": _Check._return,
    "if": _Check._if,
    "for": _Check._for,
    "pass": _Check._pass,
    "break": _Check._leave,
    "continue": _Check._leave,
}
_CHECK_EXPRESSION: Final[dict[str, Callable[[_Check, Node, int], None]]] = {
    "int": _Check._int,
    "str": _Check._str,
    "bool": _Check._bool,
    "none": _Check._none,
    "name": _Check._name,
    "list": _Check._parts,
    "dict": _Check._parts,
    "binary": _Check._symbol,
    "negative": _Check._parts,
    "positive": _Check._parts,
    "not": _Check._parts,
    "and": _Check._parts,
    "or": _Check._parts,
    "compare": _Check._symbol,
    "choose": _Check._parts,
    "index": _Check._parts,
    "slice": _Check._parts,
    "call": _Check._call,
    "method": _Check._method,
    "list_of": _Check._comprehension,
    "dict_of": _Check._comprehension,
    "lambda": _Check._stray_lambda,
}
