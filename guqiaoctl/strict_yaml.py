"""YAML with one reading: mappings, lists, texts, whole numbers, true and false; each with its line.

Anchors, aliases, merge keys, tags, directives, further documents and members that stand twice are
refused, and so is what YAML would silently take for a date, a fraction, null or `yes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

import yaml
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from guqiao_sdk.proof.json_values import INTEGER_BOUND, Json
from services.consensus.domain.contracts.template.faults import Path, TemplateError

BYTES_MAX: Final = 262_144
DEPTH_MAX: Final = 12
NODES_MAX: Final = 20_000

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_TAG: Final = "tag:yaml.org,2002:"
_SHOWN_MAX: Final = 40


class YamlError(Exception):
    """What is refused, with its line, counted from 1."""

    def __init__(self, fault: TemplateError, line: int) -> None:
        super().__init__(f"line {line}: {fault}")
        self.fault = fault
        self.line = line


def read_yaml(data: bytes) -> tuple[Json, dict[Path, int]]:
    """The value of a document and the line of each place in it; raises `YamlError`."""
    if len(data) > BYTES_MAX:
        raise YamlError(TemplateError("large", (), max=f"{BYTES_MAX} bytes"), 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise YamlError(TemplateError("yaml", (), why="not UTF-8"), line) from None
    try:
        reader = _Reader(text)
        return reader.document(), reader.lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = str(getattr(error, "problem", None) or getattr(error, "reason", "malformed"))
        line = mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise YamlError(TemplateError("yaml", (), why=why), line) from None


class _Reader:
    """Turns the parser's events into a value; only the scanner and the parser of PyYAML are used,
    neither of which makes an object.
    """

    def __init__(self, text: str) -> None:
        self._next: Callable[[], Any] = yaml.SafeLoader(text).get_event
        self._resolve: Callable[..., Any] = Resolver().resolve
        self._nodes = 0
        self.lines: dict[Path, int] = {}

    def document(self) -> Json:
        self._next()  # The stream's start.
        start = self._next()
        if not isinstance(start, yaml.DocumentStartEvent):
            self._refuse("yaml_documents", start, ())
        if start.version is not None or start.tags:
            self._refuse("yaml_tag", start, ())
        value = self._value(self._next(), ())
        self._next()  # The document's end.
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse("yaml_documents", after, ())
        return value

    def _value(self, event: Any, path: Path) -> Json:
        self._nodes += 1
        self.lines[path] = event.start_mark.line + 1
        if self._nodes > NODES_MAX or len(path) > DEPTH_MAX:
            bound = f"{NODES_MAX} values, {DEPTH_MAX} levels"
            self._refuse("large", event, path, max=bound)
        if getattr(event, "anchor", None) is not None:  # An alias has one, too.
            self._refuse("yaml_anchor", event, path)
        if event.tag is not None:
            self._refuse("yaml_tag", event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path)

    def _mapping(self, path: Path) -> Json:
        found: dict[str, Json] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            name = self._member(event, path)
            if name in found:
                self._refuse("yaml_twice", event, (*path, name), member=name[:_SHOWN_MAX])
            found[name] = self._value(self._next(), (*path, name))
            self.lines[*path, name] = event.start_mark.line + 1
        return found

    def _member(self, event: Any, path: Path) -> str:
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<":
            self._refuse("yaml_anchor", event, path)
        name = self._value(event, path)
        if not isinstance(name, str):
            shown = name if isinstance(name, bool | int) else "[…]"
            self._refuse("yaml_value", event, path, text=str(shown)[:_SHOWN_MAX])
        return name

    def _sequence(self, path: Path) -> Json:
        found: list[Json] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _scalar(self, event: Any, path: Path) -> Json:
        text: str = event.value
        if event.style is not None:  # Quoted, or a block.
            return text
        tag = self._resolve(ScalarNode, text, (True, False))
        if tag == f"{_TAG}str":
            return text
        if tag == f"{_TAG}bool" and text in ("true", "false"):
            return text == "true"
        if tag == f"{_TAG}int" and _INTEGER.fullmatch(text) and abs(int(text)) < INTEGER_BOUND:
            return int(text)
        self._refuse("yaml_value", event, path, text=text[:_SHOWN_MAX] or "(empty)")

    def _refuse(self, rule: str, event: Any, path: Path, **fields: Json) -> NoReturn:
        raise YamlError(TemplateError(rule, path, **fields), event.start_mark.line + 1)
