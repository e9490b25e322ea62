"""The functions and methods that a contract can call, with what they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters in order; the first `required` must be given."""

    names: tuple[str, ...]
    required: int


def _takes(*names: str, optional: tuple[str, ...] = ()) -> Signature:
    return Signature((*names, *optional), len(names))


LANGUAGE: Final = {
    "len": _takes("x"),
    "str": _takes("x"),
    "int": _takes("x"),
    "bool": _takes("x"),
    "list": _takes(optional=("x",)),
    "dict": _takes(optional=("x",)),
    "type": _takes("x"),
    "abs": _takes("x"),
    "any": _takes("x"),
    "all": _takes("x"),
    "min": _takes("x", optional=("key",)),
    "max": _takes("x", optional=("key",)),
    "sorted": _takes("x", optional=("key", "reverse")),
    "reversed": _takes("x"),
    "enumerate": _takes("x", optional=("start",)),
    "zip": _takes("x", "y"),
    "range": _takes("start", optional=("stop", "step")),
}
HOST: Final = {
    "get": _takes("key"),
    "put": _takes("key", "value"),
    "delete": _takes("key"),
    "scan": _takes("prefix", "limit"),
    "emit": _takes("topic", "body"),
    "sender": _takes(),
    "checker": _takes(),
    "height": _takes(),
    "block_time": _takes(),
    "business_time": _takes(),
    "require": _takes("condition", "code"),
    "call": _takes("contract", "method"),
    "sm3": _takes("x"),
}
BUILTINS: Final = {**LANGUAGE, **HOST}
OPEN_KEYWORDS: Final = frozenset({"require", "call"})
"""They take two arguments by place and any by name: facts of a refusal, what the other contract is
given.
"""
KEYED: Final = frozenset({"sorted", "min", "max"})
"""Where a lambda may stand, as `key`."""

METHODS: Final = {
    "append": _takes("x"),
    "clear": _takes(),
    "count": _takes("x"),
    "endswith": _takes("x"),
    "extend": _takes("x"),
    "find": _takes("x"),
    "get": _takes("key", optional=("default",)),
    "index": _takes("x"),
    "insert": _takes("index", "x"),
    "isdigit": _takes(),
    "items": _takes(),
    "join": _takes("x"),
    "keys": _takes(),
    "lower": _takes(),
    "lstrip": _takes(),
    "pop": _takes(optional=("x", "default")),
    "remove": _takes("x"),
    "replace": _takes("old", "new"),
    "rstrip": _takes(),
    "setdefault": _takes("key", optional=("default",)),
    "split": _takes("separator"),
    "startswith": _takes("x"),
    "strip": _takes(),
    "update": _takes("x"),
    "upper": _takes(),
    "values": _takes(),
}

RESERVED: Final = frozenset(
    [
        "and",
        "as",
        "assert",
        "break",
        "class",
        "continue",
        "def",
        "del",
        "elif",
        "else",
        "except",
        "finally",
        "for",
        "from",
        "global",
        "if",
        "import",
        "in",
        "is",
        "lambda",
        "load",
        "nonlocal",
        "not",
        "or",
        "pass",
        "raise",
        "return",
        "try",
        "while",
        "with",
        "yield",
        "True",
        "False",
        "None",
    ]
)
"""Starlark's words, used or not: no name of a contract."""
