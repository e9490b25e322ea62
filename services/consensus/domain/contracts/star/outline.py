"""What can be read off a checked program without running it: who calls whom, what is written,
announced, asked for and named.

It is no proof of what a method does; that is what tests and reviewers are for. It is what every
deployment can be held to, by every replica, without trusting its author.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from services.consensus.domain.contracts.star.ir import Module, Node
from services.consensus.domain.contracts.star.names import HOST

WRITES: Final = frozenset({"put", "delete", "emit", "call"})
"""What a view does not do."""


@dataclass(frozen=True, slots=True)
class Put:
    """One write. `prefix` is the text that its key begins with, up to and with the first /, None
    where the source does not spell it out; `members` are those of a dict literal, else None.
    """

    prefix: str | None
    members: frozenset[str] | None
    line: int


@dataclass(frozen=True, slots=True)
class Emit:
    """One announcement; None where topic or members are not spelled out."""

    topic: str | None
    members: frozenset[str] | None
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    """What one function itself does. `parameters` tell which may be left out; `names` are the texts
    and names that stand in it.
    """

    line: int
    parameters: dict[str, bool]
    calls: frozenset[str]
    puts: tuple[Put, ...]
    emits: tuple[Emit, ...]
    reads: frozenset[str | None]
    names: frozenset[str]


class Outline:
    """The outline of a module."""

    def __init__(self, module: Module) -> None:
        self.write = frozenset(module.access.write)
        self.constants: dict[str, Node] = {node[2]: node[3] for node in module.constants}
        self.functions = {node[2]: self._function(node) for node in module.functions}

    @cached_property
    def public(self) -> dict[str, Function]:
        """What can be called from outside."""
        return {
            name: function for name, function in self.functions.items() if not name.startswith("_")
        }

    def reached(self, name: str) -> list[Function]:
        """The function and all that it may call, directly or not. There is no recursion."""
        found = {name: self.functions[name]}
        waiting = [name]
        while waiting:
            for called in sorted(self.functions[waiting.pop()].calls & self.functions.keys()):
                if called not in found:
                    found[called] = self.functions[called]
                    waiting.append(called)
        return list(found.values())

    def _function(self, node: Node) -> Function:
        calls: set[str] = set()
        puts: list[Put] = []
        emits: list[Emit] = []
        reads: set[str | None] = set()
        names = {parameter[2] for parameter in node[3]}
        for each in _nodes(node[4]):
            names.update(self._named(each))
            if each[0] != "call":
                continue
            calls.add(each[2])
            if each[2] in HOST:
                given = _given(each)
                if each[2] == "put":
                    puts.append(Put(self._prefix(given["key"]), _keys(given["value"]), each[1]))
                elif each[2] == "emit":
                    topic = self._text(given["topic"])
                    emits.append(Emit(topic, _keys(given["body"]), each[1]))
                elif each[2] in ("get", "scan"):
                    reads.add(self._prefix(given[HOST[each[2]].names[0]]))
        return Function(
            line=node[1],
            parameters={parameter[2]: bool(parameter[3]) for parameter in node[3]},
            calls=frozenset(calls),
            puts=tuple(puts),
            emits=tuple(emits),
            reads=frozenset(reads),
            names=frozenset(names),
        )

    def _named(self, node: Node) -> Iterator[str]:
        """Texts and names in a node, and the text of a constant that it names."""
        match node[0]:
            case "str":
                yield node[2]
            case "name":
                yield node[2]
                text = self._text(node)
                if text is not None:
                    yield text
            case "unpack":
                yield from node[2:]
            case "for":
                yield from node[2]
            case "lambda":
                yield node[2]
            case "call" | "method":
                yield from node[3]

    def _text(self, node: Node) -> str | None:
        """The text that an expression is, as far as the source spells it out."""
        if node[0] == "name" and node[2] in self.constants:
            node = self.constants[node[2]]
        if node[0] != "str":
            return None
        text: str = node[2]
        return text

    def _prefix(self, key: Node) -> str | None:
        while key[0] == "binary" and key[2] == "+":
            key = key[3]
        text = self._text(key)
        if text is None or "/" not in text:
            return None
        return text[: text.index("/") + 1]


def _nodes(part: Any) -> Iterator[Node]:
    """Every node in a checked form; lists of names, which are no nodes, are passed over. The form's
    own bounds bound the recursion.
    """
    if not isinstance(part, list):
        return
    if len(part) >= 2 and isinstance(part[0], str) and type(part[1]) is int:
        yield part
    for each in part:
        yield from _nodes(each)


def _given(call: Node) -> dict[str, Node]:
    """The arguments of a call of a host function, by name."""
    names, values = HOST[call[2]].names, call[4:]
    placed = len(values) - len(call[3])
    by_place = dict(zip(names, values[:placed], strict=False))
    return by_place | dict(zip(call[3], values[placed:], strict=True))


def _keys(value: Node) -> frozenset[str] | None:
    """The keys of a dict literal that are all texts, else None."""
    if value[0] != "dict" or any(key[0] != "str" for key in value[2::2]):
        return None
    return frozenset(key[2] for key in value[2::2])
