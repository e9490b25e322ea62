"""Literals of canonical forms: what constants are made of, and the access list among them."""

from __future__ import annotations

import re
from typing import Any, Final

from services.consensus.domain.contracts.star.ir import EXPRESSION_DEPTH_MAX, Access, Node
from services.consensus.domain.contracts.star.shapes import EXPRESSIONS, LITERALS, Shapes
from services.consensus.domain.contracts.star.values import INT_BOUND, KEY_INT_BOUND, STR_LENGTH_MAX

_INT: Final = re.compile(r"0|[1-9][0-9]{0,76}")
_PREFIXES_MAX: Final = 64
_PREFIX: Final = re.compile("(?s:.{1,128})")
_CALLED: Final = re.compile(r"[a-z][a-z0-9_]{2,63}\.[a-z][a-z0-9_]{0,63}")
_ACCESS: Final = {"read": _PREFIX, "write": _PREFIX, "call": _CALLED}
"""What ACCESS declares: prefixes of keys, and methods of other contracts, which may be left out."""


class Literals(Shapes):
    """What every check of a literal does."""

    def _scalar(self, node: Node) -> None:
        """An int, string, bool or None within its bounds."""
        match node[0], node[2:]:
            case "int", [digits]:
                if not isinstance(digits, str) or not _INT.fullmatch(digits):
                    self._refuse("integer", node)
                if int(digits) >= INT_BOUND:
                    self._refuse("integer", node)
            case "str", [text]:
                if not isinstance(text, str) or len(text) > STR_LENGTH_MAX:
                    self._refuse("string", node)
            case "bool", [truth]:
                if type(truth) is not bool:
                    self._refuse("form", node)

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
            if node[0] == "dict":
                self._literal_keys(node[2::2])
            if node[0] == "negative" and node[2][0] != "int":
                self._refuse("constant", node)
        else:
            self._scalar(node)

    def _literal_keys(self, keys: list[Node]) -> None:
        """Strings and numbers that a dict can have as keys, none of them twice: a call would find
        out too late.
        """
        known: set[str | int] = set()
        for key in keys:
            number = key[2] if key[0] == "negative" else key
            is_int = number[0] == "int" and int(number[2]) < KEY_INT_BOUND
            if key[0] != "str" and not is_int:
                self._refuse("constant", key)
            sign = -1 if key[0] == "negative" else 1
            value = sign * int(number[2]) if is_int else key[2]
            if value in known:
                self._refuse("key_twice", key)
            known.add(value)

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
