"""All that is wrong with a source at once, for whoever writes it; a chain needs only the first.

What is refused is taken out and the rest judged again, so that each refusal stands alone: names
that a refused statement binds stay bound. What keeps a source from being parsed ends the search.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.syntax import compile_tree, parse_source

REFUSALS_MAX: Final = 100

_NUMBER: Final = re.compile(r"\.?[0-9][0-9A-Za-z_.]*")
_SPELLINGS: Final = {
    "float": _NUMBER,
    "integer": _NUMBER,
    "syntax": _NUMBER,
    "character": re.compile(r"[^\x00-\x7f]"),
}
"""What may be refused before anything is parsed, and what is then read in its place."""


def lint_source(source: bytes) -> Module | list[SourceError]:
    """The module, or the refusals in the order of their lines, at most `REFUSALS_MAX`."""
    found: list[SourceError] = []
    tree = _tree_of(source, found)
    while tree is not None and len(found) < REFUSALS_MAX:
        try:
            module = compile_tree(tree)
        except SourceError as error:
            is_new = _adds(found, error)
            if not _taken_out(tree, error, keeps_names=is_new):
                break
        else:
            if not found:
                return module
            break
    return sorted(found, key=lambda each: (each.line, each.column))


def _tree_of(source: bytes, found: list[SourceError]) -> ast.Module | None:
    """The tree of a source in which numbers and characters that are refused are others."""
    while len(found) < REFUSALS_MAX:
        try:
            return parse_source(source)
        except SourceError as error:
            changed = _respelled(source, error) if _adds(found, error) else None
            if changed is None:
                return None
            source = changed
    return None


def _adds(found: list[SourceError], error: SourceError) -> bool:
    """Take a refusal down; False for one that came back."""
    place = (error.rule, error.line, error.column)
    is_new = place not in {(each.rule, each.line, each.column) for each in found}
    if is_new:
        found.append(error)
    return is_new


def _respelled(source: bytes, error: SourceError) -> bytes | None:
    """The source with something as long in place of a number or character, or None."""
    if error.rule not in _SPELLINGS or not error.column:
        return None
    lines = source.decode().split("\n")
    line, begin = lines[error.line - 1], error.column - 1
    match = _SPELLINGS[error.rule].match(line, begin)
    if match is None:
        return None
    other = "_" if error.rule == "character" else "0"
    lines[error.line - 1] = line[:begin] + other.ljust(len(match.group())) + line[match.end() :]
    return "\n".join(lines).encode()


def _taken_out(tree: ast.Module, error: SourceError, *, keeps_names: bool) -> bool:
    """Replace the innermost statement at the error's place, if it is refused again without binding
    its names; False where there is none.
    """
    found: tuple[list[ast.stmt], int] | None = None
    for statements in _bodies(tree):
        for number, statement in enumerate(statements):
            if _covers(statement, error):
                found = statements, number
    if found is None:
        return False
    statements, number = found
    statement, is_top = statements[number], statements is tree.body
    nothing = [] if is_top else [_like(statement, ast.Pass())]
    if not keeps_names and isinstance(statement, ast.Pass):
        return False
    less = _harmless(statement, error, is_top=is_top) if keeps_names else nothing
    statements[number : number + 1] = less
    return True


def _bodies(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every list of statements, outer ones before those within."""
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(tree, name, None)
        if isinstance(statements, list):
            yield statements
            for statement in statements:
                yield from _bodies(statement)


def _covers(statement: ast.stmt, error: SourceError) -> bool:
    first, last = statement.lineno, statement.end_lineno or statement.lineno
    if not first <= error.line <= last:
        return False
    if not error.column:
        return True
    place = (error.line, error.column - 1)
    return (first, statement.col_offset) <= place < (last, statement.end_col_offset or 0)


def _harmless(statement: ast.stmt, error: SourceError, *, is_top: bool) -> list[ast.stmt]:
    """What binds the same names and has nothing to refuse."""
    if is_top:
        return _harmless_at_the_top(statement, error)
    match statement:
        case ast.Assign(targets=[ast.Name() | ast.Tuple() | ast.List() as target]):
            return [_like(statement, ast.Assign([target], _nothing(statement)))]
        case ast.If() if _covers_within(statement.test, error):
            statement.test = _nothing(statement)
            return [statement]
        case ast.For() if _covers_within(statement.iter, error) or statement.orelse:
            statement.iter = ast.copy_location(ast.List([], ast.Load()), statement)
            statement.orelse = []
            return [statement]
        case ast.Return():
            return [_like(statement, ast.Return(None))]
        case _:
            return [_like(statement, ast.Pass())]


def _harmless_at_the_top(statement: ast.stmt, error: SourceError) -> list[ast.stmt]:
    names_it = error.rule in ("duplicate", "name_reserved", "character")
    match statement:
        case ast.FunctionDef() if not names_it:
            statement.decorator_list, statement.returns = [], None
            statement.args = _plain(statement.args)
            return [statement]
        case ast.Assign(targets=[ast.Name(id=name) as target]) if not names_it and name != "ACCESS":
            return [_like(statement, ast.Assign([target], _nothing(statement)))]
        case _:
            return []


def _nothing(at: ast.stmt) -> ast.expr:
    return ast.copy_location(ast.Constant(None), at)


def _covers_within(part: ast.expr, error: SourceError) -> bool:
    place = (error.line, error.column - 1)
    first = (part.lineno, part.col_offset)
    return first <= place < (part.end_lineno or 0, part.end_col_offset or 0)


def _plain(arguments: ast.arguments) -> ast.arguments:
    """The same names, and nothing said of them."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names = [*every, *(each for each in (arguments.vararg, arguments.kwarg) if each)]
    optional = names[len(names) - len(arguments.defaults) :]
    defaults: list[ast.expr] = [ast.copy_location(ast.Constant(None), each) for each in optional]
    for each in names:
        each.annotation = None
    return ast.arguments([], names, None, [], [], None, defaults)


def _like(at: ast.stmt, statement: ast.stmt) -> ast.stmt:
    return ast.copy_location(statement, at)
