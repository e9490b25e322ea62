"""From a checked text to the canonical form: what star/1 has no word for is refused with its place.

CPython's parser reads the text; nothing of its tree goes further. What names mean and how functions
call one another is judged on the canonical form (`ir`), by whoever sees it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.check import check
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import EXPRESSION_DEPTH_MAX, Module, Node
from services.consensus.domain.contracts.star.text import check_text, logical_lines

_NOT_IN_JSON: Final = re.compile("[\0\ud800-\udfff]")
"""What escapes can put into a string, and no chain can keep."""

_BINARY: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_COMPARED: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_REFUSED: Final[dict[type[ast.AST], str]] = {
    ast.Import: "import",
    ast.ImportFrom: "import",
    ast.While: "while",
    ast.FunctionDef: "nested_function",
    ast.ClassDef: "statement",
    ast.Tuple: "tuple",
    ast.Starred: "star_argument",
    ast.Set: "expression",
    ast.JoinedStr: "string",
}


def compile_source(source: bytes) -> Module:
    """The canonical form of a source, checked; raises `SourceError`."""
    return compile_parts([source])


def compile_parts(parts: Sequence[bytes]) -> Module:
    """The same of a source in several files, each within the bounds of one: they share all names,
    and lines are those of all files in a row.
    """
    trees: list[ast.Module] = []
    lines = 0
    for part in parts:
        trees.append(ast.increment_lineno(parse_source(part), lines))
        lines += part.count(b"\n")
    return _translated(trees)


def compile_tree(tree: ast.Module) -> Module:
    """The canonical form of what `parse_source` gave; raises `SourceError`."""
    return _translated([tree])


def parse_source(source: bytes) -> ast.Module:
    """Python's tree of a source, if its text may be parsed; raises `SourceError`."""
    return _parsed(check_text(source))


def _translated(trees: Sequence[ast.Module]) -> Module:
    translator = _Translator()
    constants: list[Json] = []
    functions: list[Json] = []
    for tree in trees:
        translator.read(tree, constants, functions)
    module: Json = {"engine": "star/1", "constants": constants, "functions": functions}
    return check(module, translator.columns)


def _parsed(text: str) -> ast.Module:
    try:
        return _in_characters(ast.parse(text, type_comments=False), text)
    except SyntaxError as error:
        raise SourceError("syntax", error.lineno or 0, error.offset or 0) from None
    except (ValueError, RecursionError, MemoryError):
        raise SourceError("deep", *_too_deep(text)) from None


def _in_characters(tree: ast.Module, text: str) -> ast.Module:
    """The tree with its columns counted in characters, as people and editors do: Python's parser
    counts the bytes of UTF-8.
    """
    if text.isascii():
        return tree
    lines = [line.encode() for line in text.split("\n")]
    for node in ast.walk(tree):
        for line, column in (("lineno", "col_offset"), ("end_lineno", "end_col_offset")):
            if hasattr(node, column):
                before = lines[getattr(node, line) - 1][: getattr(node, column)]
                setattr(node, column, len(before.decode()))
    return tree


def _too_deep(text: str) -> tuple[int, int]:
    """Line and column of the first line that the parser cannot take by itself, 0 where each can be
    taken.
    """
    for line, column, words in logical_lines(text):
        block = words.rstrip().endswith(":")
        try:
            ast.parse(words.removeprefix("el") + (" pass" if block else ""))
        except SyntaxError:
            continue
        except (ValueError, RecursionError, MemoryError):
            return line, column
    return 0, 0


class _Translator:
    """`columns` say where nodes stand in the text, by id."""

    def __init__(self) -> None:
        self.columns: dict[int, int] = {}

    def read(self, tree: ast.Module, constants: list[Json], functions: list[Json]) -> None:
        """Add constants and functions, in the order of the source."""
        for number, statement in enumerate(tree.body):
            match statement:
                case ast.FunctionDef():
                    functions.append(self._function(statement))
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    constants.append(self._node(statement, "constant", name, self._expr(value, 0)))
                case ast.Expr(value=ast.Constant(value=str())) if number == 0:
                    pass
                case _:
                    rule = _REFUSED.get(type(statement), "constant")
                    raise _refusal(rule, statement)

    def _node(self, at: ast.AST, *parts: Json) -> Node:
        line = int(getattr(at, "lineno", 0))
        node: Node = [parts[0], line, *parts[1:]]
        self.columns[id(node)] = int(getattr(at, "col_offset", -1)) + 1
        return node

    # --- Functions and statements -------------------------------------------------------------

    def _function(self, function: ast.FunctionDef) -> Node:
        if function.decorator_list or function.returns is not None:
            raise _refusal("statement", function)
        if getattr(function, "type_params", []):  # Python 3.11 cannot parse them.
            raise _refusal("syntax", function)
        parameters = self._parameters(function.args)
        body = function.body
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body = body[1:] if isinstance(first.value.value, str) else body
        block = self._block(body) or [self._node(first, "pass")]
        return self._node(function, "function", function.name, parameters, block)

    def _parameters(self, arguments: ast.arguments) -> list[Json]:
        beyond = arguments.vararg or arguments.kwarg
        if beyond is not None:
            raise _refusal("star_argument", beyond)
        if arguments.posonlyargs or arguments.kwonlyargs:
            raise _refusal("star_argument", (arguments.posonlyargs + arguments.kwonlyargs)[0])
        missing = len(arguments.args) - len(arguments.defaults)
        parameters: list[Json] = []
        for number, parameter in enumerate(arguments.args):
            if parameter.annotation is not None:
                raise _refusal("syntax", parameter)
            default: Json = []
            if number >= missing:
                value = arguments.defaults[number - missing]
                default = [self._literal_default(value)]
            parameters.append(self._node(parameter, "parameter", parameter.arg, default))
        return parameters

    def _literal_default(self, value: ast.expr) -> Node:
        node = self._expr(value, 0)
        if node[0] not in ("int", "str", "bool", "none"):
            raise _refusal("default_argument", value)
        return node

    def _block(self, statements: Sequence[ast.stmt]) -> list[Json]:
        return [self._statement(each) for each in statements]

    def _statement(self, statement: ast.stmt) -> Node:
        match statement:
            case ast.Assign(targets=[target], value=value):
                return self._node(statement, "assign", self._target(target), self._expr(value, 0))
            case ast.Assign():
                raise _refusal("assignment", statement)
            case ast.AugAssign(target=target, op=operator, value=value):
                symbol = self._operator(operator, statement)
                to = self._target(target)
                return self._node(statement, "augment", symbol, to, self._expr(value, 0))
            case ast.Expr(value=value):
                return self._node(statement, "do", self._expr(value, 0))
            case _:
                return self._flow(statement)

    def _flow(self, statement: ast.stmt) -> Node:
        match statement:
            case ast.Return(value=value):
                parts = [] if value is None else [self._expr(value, 0)]
                return self._node(statement, "return", *parts)
            case ast.If():
                return self._if(statement)
            case ast.For(target=target, iter=over, body=body, orelse=[]):
                loop = (self._names(target), self._expr(over, 0), self._block(body))
                return self._node(statement, "for", *loop)
            case ast.Pass() | ast.Break() | ast.Continue():
                return self._node(statement, type(statement).__name__.lower())
            case _:
                raise _refusal(_REFUSED.get(type(statement), "statement"), statement)

    def _if(self, statement: ast.If) -> Node:
        parts: list[Json] = []
        branch: ast.If | None = statement
        otherwise: list[ast.stmt] = []
        while branch is not None:
            parts += [self._expr(branch.test, 0), self._block(branch.body)]
            otherwise = branch.orelse
            is_elif = len(otherwise) == 1 and isinstance(otherwise[0], ast.If)
            following = otherwise[0] if is_elif else None
            branch = following if isinstance(following, ast.If) else None
        return self._node(statement, "if", *parts, self._block(otherwise))

    def _target(self, target: ast.expr) -> Node:
        match target:
            case ast.Name(id=name):
                return self._node(target, "name", name)
            case ast.Subscript(value=value, slice=index) if not isinstance(index, ast.Slice):
                place = (self._expr(value, 1), self._expr(index, 1))
                return self._node(target, "index", *place)
            case ast.Tuple() | ast.List():
                return self._node(target, "unpack", *self._names(target))
            case _:
                raise _refusal("assignment", target)

    def _names(self, target: ast.expr) -> list[Json]:
        elements = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        names: list[Json] = []
        for element in elements:
            if not isinstance(element, ast.Name):
                raise _refusal("assignment", element)
            names.append(element.id)
        return names

    # --- Expressions --------------------------------------------------------------------------

    def _expr(self, value: ast.expr, depth: int) -> Node:
        if depth >= EXPRESSION_DEPTH_MAX:
            raise _refusal("deep", value)
        translate = _TRANSLATED.get(type(value))
        if translate is None:
            raise _refusal(_REFUSED.get(type(value), "expression"), value)
        return translate(self, value, depth + 1)

    def _all(self, values: Sequence[ast.expr], below: int) -> list[Node]:
        return [self._expr(each, below) for each in values]

    def _name(self, value: ast.Name, _: int) -> Node:
        return self._node(value, "name", value.id)

    def _list(self, value: ast.List, below: int) -> Node:
        return self._node(value, "list", *self._all(value.elts, below))

    def _binary(self, value: ast.BinOp, below: int) -> Node:
        symbol = self._operator(value.op, value)
        return self._node(value, "binary", symbol, *self._all([value.left, value.right], below))

    def _logic(self, value: ast.BoolOp, below: int) -> Node:
        name = "and" if isinstance(value.op, ast.And) else "or"
        return self._node(value, name, *self._all(value.values, below))

    def _compare(self, value: ast.Compare, below: int) -> Node:
        if len(value.ops) > 1:
            raise _refusal("chained_comparison", value)
        known = _COMPARED.get(type(value.ops[0]))
        if known is None:
            raise _refusal("operator", value)
        return self._node(
            value, "compare", known, *self._all([value.left, *value.comparators], below)
        )

    def _choose(self, value: ast.IfExp, below: int) -> Node:
        parts = self._all([value.test, value.body, value.orelse], below)
        return self._node(value, "choose", *parts)

    def _subscript(self, value: ast.Subscript, below: int) -> Node:
        if not isinstance(value.slice, ast.Slice):
            return self._node(value, "index", *self._all([value.value, value.slice], below))
        piece = value.slice
        ends = [_or_none(each) for each in (piece.lower, piece.upper, piece.step)]
        return self._node(value, "slice", *self._all([value.value, *ends], below))

    def _attribute(self, value: ast.Attribute, _: int) -> Node:
        raise _refusal("attribute", value, name=value.attr[:64])

    def _list_of(self, value: ast.ListComp, below: int) -> Node:
        return self._comprehension(value, "list_of", [value.elt], value.generators, below)

    def _dict_of(self, value: ast.DictComp, below: int) -> Node:
        made = [value.key, value.value]
        return self._comprehension(value, "dict_of", made, value.generators, below)

    def _constant(self, value: ast.Constant, _: int) -> Node:
        match value.value:
            case bool() as truth:
                return self._node(value, "bool", truth)
            case int() as number:
                return self._node(value, "int", str(number))
            case str() as text:
                if _NOT_IN_JSON.search(text):
                    raise _refusal("string", value)
                return self._node(value, "str", text)
            case None:
                return self._node(value, "none")
            case float() | complex():
                raise _refusal("float", value)
            case _:
                raise _refusal("string", value)

    def _dict(self, at: ast.Dict, below: int) -> Node:
        parts: list[Json] = []
        for key, value in zip(at.keys, at.values, strict=True):
            if key is None:
                raise _refusal("star_argument", value)
            parts += [self._expr(key, below), self._expr(value, below)]
        return self._node(at, "dict", *parts)

    def _operator(self, operator: ast.operator, at: ast.AST) -> str:
        symbol = _BINARY.get(type(operator))
        if symbol is None:
            raise _refusal("division" if isinstance(operator, ast.Div) else "operator", at)
        return symbol

    def _unary(self, at: ast.UnaryOp, below: int) -> Node:
        name = {ast.Not: "not", ast.USub: "negative", ast.UAdd: "positive"}.get(type(at.op))
        if name is None:
            raise _refusal("operator", at)
        return self._node(at, name, self._expr(at.operand, below))

    def _call(self, at: ast.Call, below: int) -> Node:
        named: list[Json] = []
        for keyword in at.keywords:
            if keyword.arg is None:
                raise _refusal("star_argument", keyword)
            named.append(keyword.arg)
        values = [*at.args, *(keyword.value for keyword in at.keywords)]
        parts = [self._expr(each, below) for each in values]
        match at.func:
            case ast.Name(id=name):
                return self._node(at, "call", name, named, *parts)
            case ast.Attribute(value=of, attr=name):
                return self._node(at, "method", name, named, self._expr(of, below), *parts)
            case _:
                raise _refusal("call", at)

    def _comprehension(
        self,
        at: ast.expr,
        kind: str,
        made: list[ast.expr],
        clauses: list[ast.comprehension],
        below: int,
    ) -> Node:
        parts: list[Json] = []
        for clause in clauses:
            if clause.is_async:
                raise _refusal("expression", at)
            over = self._expr(clause.iter, below)
            parts.append(self._node(clause.target, "for", self._names(clause.target), over))
            parts += [self._node(each, "if", self._expr(each, below)) for each in clause.ifs]
        return self._node(at, kind, parts, *[self._expr(each, below) for each in made])

    def _lambda(self, at: ast.Lambda, below: int) -> Node:
        parameters = self._parameters(at.args)
        if len(parameters) != 1 or at.args.defaults:
            raise _refusal("lambda", at)
        return self._node(at, "lambda", at.args.args[0].arg, self._expr(at.body, below))


_TRANSLATED: Final[dict[type[ast.expr], Callable[[_Translator, Any, int], Node]]] = {
    ast.Constant: _Translator._constant,
    ast.Name: _Translator._name,
    ast.List: _Translator._list,
    ast.Dict: _Translator._dict,
    ast.BinOp: _Translator._binary,
    ast.UnaryOp: _Translator._unary,
    ast.BoolOp: _Translator._logic,
    ast.Compare: _Translator._compare,
    ast.IfExp: _Translator._choose,
    ast.Subscript: _Translator._subscript,
    ast.Call: _Translator._call,
    ast.ListComp: _Translator._list_of,
    ast.DictComp: _Translator._dict_of,
    ast.Lambda: _Translator._lambda,
    ast.Attribute: _Translator._attribute,
}


def _or_none(value: ast.expr | None) -> ast.expr:
    return ast.Constant(None) if value is None else value


def _refusal(rule: str, at: ast.AST, **fields: Json) -> SourceError:
    line, column = int(getattr(at, "lineno", 0)), int(getattr(at, "col_offset", -1)) + 1
    return SourceError(rule, line, column, **fields)
