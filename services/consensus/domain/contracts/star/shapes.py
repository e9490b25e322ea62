"""The shapes of canonical forms: which kinds of nodes there are, and how many parts each has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import LINE_MAX, Node
from services.consensus.domain.contracts.star.names import BUILTINS, RESERVED, Signature

LITERALS: Final = {"int": 1, "str": 1, "bool": 1, "none": 0}
TARGETS: Final = {"name": 1, "index": 2, "unpack": -1}
STATEMENTS: Final = {
    "assign": 2,
    "augment": 3,
    "do": 1,
    "return": -1,
    "if": -1,
    "for": 3,
    "pass": 0,
    "break": 0,
    "continue": 0,
}
EXPRESSIONS: Final = {
    **LITERALS,
    "name": 1,
    "list": -1,
    "dict": -1,
    "binary": 3,
    "negative": 1,
    "positive": 1,
    "not": 1,
    "and": -1,
    "or": -1,
    "compare": 3,
    "choose": 3,
    "index": 2,
    "slice": 4,
    "call": -1,
    "method": -1,
    "list_of": 2,
    "dict_of": 3,
    "lambda": 2,
}

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]{0,63}")


class Shapes:
    """What every check of a node begins with. `columns` say where nodes stand, by id."""

    def __init__(self, columns: Mapping[int, int]) -> None:
        self._columns = columns
        self._constants: dict[str, Node] = {}
        self._functions: dict[str, Signature] = {}

    def _node(self, value: Any, kinds: Mapping[str, int]) -> Node:
        """A node of one of these kinds, which have so many parts (-1: any number)."""
        if not isinstance(value, list) or len(value) < 2 or not isinstance(value[0], str):
            raise SourceError("form", 0)
        kind, line = value[0], value[1]
        if type(line) is not int or not 0 <= line <= LINE_MAX:
            raise SourceError("form", 0, kind=kind[:32])
        parts = kinds.get(kind)
        if parts is None or parts not in (-1, len(value) - 2):
            self._refuse("form", value, kind=kind[:32])
        return value

    def _refuse(self, rule: str, at: Node, **fields: Json) -> NoReturn:
        raise SourceError(rule, at[1], self._columns.get(id(at), 0), **fields)

    def _list(self, value: Any, at: Node) -> list[Any]:
        if not isinstance(value, list):
            self._refuse("form", at)
        return value

    def _identifier(self, value: Any, at: Node) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            self._refuse("character", at)
        return value

    def _new_name(self, value: Any, at: Node) -> str:
        name = self._identifier(value, at)
        if name in RESERVED or name in BUILTINS:
            self._refuse("name_reserved", at, name=name)
        return name

    def _new_names(self, value: Any, at: Node) -> list[str]:
        names = [self._new_name(each, at) for each in self._list(value, at)]
        if not names or len(set(names)) != len(names):
            self._refuse("duplicate", at)
        for name in names:
            if name in self._constants or name in self._functions:
                self._refuse("name_reserved", at, name=name)
        return names
