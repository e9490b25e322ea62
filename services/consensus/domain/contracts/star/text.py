"""What a source must be before anything parses it: bounded, visible, and not nested too deep.

One pass over the characters, aware of strings and comments. It keeps hostile text away from the
parser, and look-alikes away from readers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from services.consensus.domain.contracts.star.faults import SourceError

SOURCE_BYTES_MAX: Final = 65_536
LINES_MAX: Final = 4_000
BRACKETS_MAX: Final = 24
INDENT_MAX: Final = 48
OPERATORS_IN_A_ROW_MAX: Final = 8
DIGITS_MAX: Final = 77

_ESCAPE: Final = re.compile(
    r"""\\([abfnrtv\\'"\n]|[01][0-7]{2}|[0-7]{1,2}(?![0-7])|x[0-7][0-9a-fA-F]"""
    r"""|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"""
)
"""What a backslash may begin within a string, by the Starlark specification."""
_UNSEEN: Final = frozenset({"Cf", "Zl", "Zp", "Co", "Cn", "Cs"})
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What is a letter or a mark by its category, and shows nothing."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_ALIKE: Final = ("LATIN ", "CYRILLIC ", "GREEK ", "ARMENIAN ", "CHEROKEE ", "COPTIC ")
"""Scripts with letters that look like those of another of them, by the names of characters."""
_TOKEN = re.compile(
    r"""(?P<triple>\"\"\"|''')|(?P<quote>["'])|(?P<comment>\#[^\n]*)|(?P<open>[\[({])"""
    r"""|(?P<close>[\])}])|(?P<number>[0-9][0-9A-Za-z_.]*)|(?P<word>[A-Za-z_][A-Za-z_0-9]*)"""
    r"""|(?P<space>[ \n]+)|(?P<point>\.[0-9]?)|(?P<other>.)""",
    re.DOTALL,
)


def check_text(source: bytes) -> str:
    """The text of a source, if it may be parsed; raises `SourceError`."""
    if len(source) > SOURCE_BYTES_MAX:
        raise SourceError("large", 0, bytes=len(source), max=SOURCE_BYTES_MAX)
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1
        raise SourceError("utf8", line, byte=error.start) from None
    if text.count("\n") > LINES_MAX:
        raise SourceError("large", LINES_MAX, lines=text.count("\n"), max=LINES_MAX)
    _check_characters(text)
    _Scan(text).run()
    _check_words(text)
    return text


def logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """What `check_text` let pass, by lines that end outside brackets: line and column from 1, and
    the text from there on.
    """
    scan = _Scan(text)
    scan.run()
    begin = 0
    for end in (*scan.ends, len(text)):
        whole = text[begin:end]
        line = whole.lstrip(" \n")
        place = begin + len(whole) - len(line)
        if line:
            yield text.count("\n", 0, place) + 1, place - (text.rfind("\n", 0, place) + 1) + 1, line
        begin = end


def _check_characters(text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if line.isascii() and line.isprintable():
            continue
        for column, character in enumerate(line, 1):
            if ord(character) < 32 or ord(character) == 127:
                raise SourceError("control_character", number, column, code=ord(character))
            if unicodedata.category(character) in _UNSEEN or _BLANK.match(character):
                raise SourceError("bidirectional", number, column, code=ord(character))
        indent = len(line) - len(line.lstrip(" "))
        if indent > INDENT_MAX:
            raise SourceError("deep", number, indent + 1, indent=indent, max=INDENT_MAX)


def _check_words(text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        for word in () if line.isascii() else _WORD.finditer(line):
            if len(_scripts(word.group())) > 1:
                raise SourceError("look_alike", number, word.start() + 1, found=word.group()[:40])


def _scripts(word: str) -> set[str]:
    """Which of the scripts that look alike a word has letters of."""
    if word.isascii():
        return set()
    names = [unicodedata.name(letter, "") for letter in word]
    return {script for script in _ALIKE for name in names if name.startswith(script)}


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self.ends: list[int] = []
        """Where lines end that do so outside brackets."""

    def run(self) -> None:
        depth = operators = 0
        word, is_after_string = "", False
        while self._position < len(self._text):
            match = _TOKEN.match(self._text, self._position)
            assert match is not None, "every character is something"
            kind, found = str(match.lastgroup), match.group()
            if kind in ("triple", "quote"):
                if is_after_string and not word:
                    raise self._error("concatenation")
                self._string(found, word)
                kind = "string"
            else:
                self._check_token(kind, found, depth)
                self._position = match.end()
            depth += (kind == "open") - (kind == "close")
            operators = operators + 1 if kind == "other" or found == "not" else operators
            if kind in ("word", "number", "string") and found != "not":
                operators = 0
            if operators > OPERATORS_IN_A_ROW_MAX:
                raise self._error("deep", operators=operators, max=OPERATORS_IN_A_ROW_MAX)
            word = found if kind == "word" else ""
            ends_line = kind == "space" and "\n" in found and depth == 0
            if ends_line:
                self.ends.append(self._position)
            if kind not in ("space", "comment") or ends_line:
                is_after_string = kind == "string"

    def _check_token(self, kind: str, found: str, depth: int) -> None:
        if kind == "open" and depth >= BRACKETS_MAX:
            raise self._error("deep", brackets=depth + 1, max=BRACKETS_MAX)
        if kind == "number":
            self._number(found)
        if kind == "point" and len(found) > 1:
            raise self._error("float")
        if kind == "other" and not found.isascii():
            raise self._error("character", code=ord(found))
        if kind == "other" and found == ";":
            raise self._error("statement", found=found)
        if kind == "other" and found == "\\":
            raise self._error("syntax", found=found)

    def _number(self, found: str) -> None:
        if not re.fullmatch(r"0|[1-9][0-9]*|0[xX][0-9a-fA-F]+", found):
            is_float = re.match(r"[0-9]+(\.|[eE])", found)
            raise self._error("float" if is_float else "syntax", found=found[:40])
        if len(found) > DIGITS_MAX:
            raise self._error("integer", digits=len(found))

    def _string(self, quote: str, prefix: str) -> None:
        if prefix and self._text[self._position - 1 : self._position].isalnum():
            raise self._error("string", prefix=prefix[:8])
        begin = self._position
        position = begin + len(quote)
        while not self._text.startswith(quote, position):
            ends = position >= len(self._text) or (len(quote) == 1 and self._text[position] == "\n")
            if ends:
                raise self._error("syntax", found=quote)
            position += self._escape(position) if self._text[position] == "\\" else 1
        self._position = position + len(quote)

    def _escape(self, position: int) -> int:
        """How long the escape is that begins here."""
        found = _ESCAPE.match(self._text, position)
        if found is None:
            self._position = position
            raise self._error("escape", found=self._text[position : position + 2])
        return len(found.group())

    def _error(self, rule: str, **fields: int | str) -> SourceError:
        before = self._text[: self._position]
        line = before.count("\n") + 1
        column = self._position - (before.rfind("\n") + 1) + 1
        return SourceError(rule, line, column, **fields)
