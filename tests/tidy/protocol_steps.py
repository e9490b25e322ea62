"""The numbered steps of the protocols' documents, and where tests cite them.

Steps of `pbft.md` have a letter and a number. A test cites one where its docstring says `pbft.md`
before it ("pbft.md G3 to G6"). In `tests/unit/consensus` and in a file whose own docstring names
`pbft.md`, the number alone is enough, in the docstring or as one of the first parts of the name
(`test_p14_d2_...`). Steps of `ledger.md` are numbered within a section: "ledger.md, rule of
silence, step 4".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.tidy.source import Source

CONSENSUS: Final = "tests/unit/consensus/"
SECTIONS: Final = ("life of a block", "envelopes", "order of the checks", "rule of silence")
"""Of ledger.md, as they are cited; its headings and marks hold these words."""

_STEP: Final = r"[A-Z]\d+"
_NUMBERS: Final = r"(?:(?:,? and |, | to ){0})*"
_PBFT: Final = re.compile(rf"pbft\.md[,:]? ({_STEP}{_NUMBERS.format(_STEP)})")
_LEDGER: Final = re.compile(
    rf"ledger\.md, (?:the )?({'|'.join(SECTIONS)}), steps? (\d{_NUMBERS.format(chr(92) + 'd')})"
)
_NAMED_ROW: Final = re.compile(r"(?:p|row)\d\d")
_NAMED_STEP: Final = re.compile(r"[a-z]\d{1,2}")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Citation:
    """A step as it stands in a file; `test` is empty where the file's own docstring has it."""

    path: str
    test: str
    step: str


def steps_of_pbft(text: str) -> frozenset[str]:
    """The numbers under which the steps of `pbft.md` stand."""
    return frozenset(re.findall(rf"^- \*\*({_STEP})\*\*", text, re.MULTILINE))


def steps_of_ledger(text: str) -> frozenset[str]:
    """Those of `ledger.md`, each with its section: "envelopes 2"."""
    found: set[str] = set()
    section = ""
    for line in text.splitlines():
        if line.startswith(("## ", "**")):
            title = line.partition(".**")[0].lower()
            section = next((each for each in SECTIONS if each in title), "")
        number = re.match(r"(?:\| )?(\d)(?:\. | )", line)
        if section and number is not None:
            found.add(f"{section} {number[1]}")
    return frozenset(found)


def citations(source: Source, letters: Iterable[str]) -> Iterator[Citation]:
    """All that a file of tests cites; `letters` are those that steps of `pbft.md` begin with."""
    docstring = _plain(source.tree)
    yield from (Citation(source.path, "", step) for step in _cited(docstring))
    is_of_protocol = source.path.startswith(CONSENSUS) or "pbft.md" in docstring
    for function in ast.walk(source.tree):
        if isinstance(function, Function) and function.name.startswith("test_"):
            text = _plain(function)
            found = _cited(text)
            if is_of_protocol:
                alone = re.findall(rf"\b[{''.join(sorted(letters))}]\d{{1,2}}\b", text)
                found = [*found, *alone, *_in_name(function.name)]
            for step in dict.fromkeys(found):
                yield Citation(source.path, function.name, step)


def _plain(node: ast.Module | Function) -> str:
    return " ".join((ast.get_docstring(node) or "").split())


def _cited(text: str) -> list[str]:
    found = [step for listed in _PBFT.findall(text) for step in _expanded(listed)]
    for section, numbers in _LEDGER.findall(text):
        found += [f"{section} {number}" for number in _expanded(numbers)]
    return found


def _expanded(listed: str) -> Iterator[str]:
    """The steps of a list, in which "T1 to T3" are three."""
    words = re.findall(rf"\bto\b|{_STEP}|\d+", listed)
    for place, word in enumerate(words):
        if word != "to":
            yield word
            continue
        letter = re.sub(r"\d", "", words[place - 1])
        first, last = (int(words[at].removeprefix(letter)) for at in (place - 1, place + 1))
        yield from (f"{letter}{number}" for number in range(first + 1, last))


def _in_name(name: str) -> Iterator[str]:
    """The steps that a name begins with, among the rows of known mistakes."""
    for part in name.removeprefix("test_").split("_"):
        if _NAMED_STEP.fullmatch(part) and not _NAMED_ROW.fullmatch(part):
            yield part.upper()
        elif not _NAMED_ROW.fullmatch(part):
            return
