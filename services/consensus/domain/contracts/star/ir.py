"""The canonical form of a contract: what is hashed, kept on chain and executed.

JSON, written canonically. A node is `[kind, line, ...]`; the table below is all that there is:

    module      {"engine": "star/1", "constants": [constant...], "functions": [function...]}
    constant    name, literal expression
    function    name, [parameter...], block     (a block is [statement...])
    parameter   name, [] or [literal]
    statements  assign target expr · augment op target expr · do expr · return [expr] · pass
                break · continue · if (expr block)... block · for [name...] expr block
    targets     name id · index expr expr · unpack name...
    expressions int "digits" · str text · bool b · none · name id · list expr...
                dict (expr expr)... · binary op a b · negative a · positive a · not a
                and a... · or a... · compare op a b · choose test a b · index a i
                slice a low high step · call name [keyword...] expr...
                method name [keyword...] receiver expr... · list_of [clause...] expr
                dict_of [clause...] key value · lambda parameter expr
    clauses     for [name...] expr · if expr
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import canonical_json

ENGINE: Final = "star/1"
IR_BYTES_MAX: Final = 524_288
EXPRESSION_DEPTH_MAX: Final = 24
STATEMENT_DEPTH_MAX: Final = 8
LINE_MAX: Final = 10_000

Node: TypeAlias = list[Any]
"""`[kind, line, ...]`; `check` has looked at every part before anything else does."""


@dataclass(frozen=True)
class Access:
    """The key prefixes that a contract reads and writes, and the methods of other contracts that it
    calls, as `contract.method`. What it may write it may read.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    call: tuple[str, ...] = ()

    @cached_property
    def readable(self) -> tuple[str, ...]:
        """All prefixes that it reads."""
        return (*self.read, *self.write)

    def may_read(self, key: str) -> bool:
        """Whether the key, or everything under this prefix, is declared for reading."""
        return key.startswith(self.readable)

    def may_write(self, key: str) -> bool:
        """Whether the key is declared for writing."""
        return key.startswith(self.write)

    def may_call(self, contract: str, method: str) -> bool:
        """Whether this method of another contract is declared."""
        return f"{contract}.{method}" in self.call


@dataclass(frozen=True)
class Module:
    """A checked canonical form. `form` is its JSON, never to be changed; `frames` says how deep the
    evaluator's stack may become in a call of each function.
    """

    form: dict[str, Any]
    access: Access
    frames: Mapping[str, int]

    @cached_property
    def encoded(self) -> bytes:
        """The one byte string of the form."""
        return canonical_json(self.form)

    @cached_property
    def digest(self) -> bytes:
        """What a contract is known by, 32 bytes."""
        return digest("guqiao/contract/star/1", self.encoded)

    @property
    def functions(self) -> list[Node]:
        """All functions; those whose name begins with `_` are nobody's to call from outside."""
        functions: list[Node] = self.form["functions"]
        return functions

    @property
    def constants(self) -> list[Node]:
        """The constants, in the order of the source."""
        constants: list[Node] = self.form["constants"]
        return constants
