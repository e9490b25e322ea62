"""How parts of a template are read: one kind of value a function, each refused at its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from guqiao_sdk.proof.json_values import INTEGER_BOUND, Json
from services.consensus.domain.contracts.template.faults import Path, TemplateError
from services.consensus.domain.contracts.template.vocabulary import Label

LABEL_LENGTH_MAX: Final = 64
LIST_MAX: Final = 128

NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,47}")
CONSTANT: Final = re.compile(r"[A-Z][A-Z0-9_]{1,47}")
WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")
"""A value of an enum in format 2, where contracts name them in small letters, too."""
TOPIC: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,31}")
PREFIX: Final = re.compile(r"[a-z][a-z0-9_]{0,31}/")
PREFIX_OR_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,31}/?")

# Given in code points: what a Unicode table says of a character differs by Python's version.
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)

T = TypeVar("T")


def members(
    value: Json, path: Path, wanted: Collection[str], optional: Collection[str] = ()
) -> dict[str, Json]:
    """An object that has exactly these members, the optional ones or not."""
    if not isinstance(value, dict):
        raise TemplateError("object", path)
    for name in sorted(value):
        if name not in wanted and name not in optional:
            raise TemplateError("unknown", (*path, name), member=name[:64])
    for name in wanted:
        if name not in value:
            raise TemplateError("missing", path, member=name)
    return value


def rows(
    value: Json,
    path: Path,
    read: Callable[[Json, Path], T],
    *,
    least: int = 0,
    most: int = LIST_MAX,
) -> tuple[T, ...]:
    """A list, each part read."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise TemplateError("list", path)
    return tuple(read(each, (*path, number)) for number, each in enumerate(value))


def text(value: Json, path: Path, length_max: int) -> str:
    """A text for people: nothing in it is unseen or turns the order of what is read."""
    is_text = isinstance(value, str) and 1 <= len(value.strip()) <= len(value) <= length_max
    if not isinstance(value, str) or not is_text or _UNSEEN.search(value):
        raise TemplateError("text", path, max=length_max)
    return value


def label(value: Json, path: Path, length_max: int = LABEL_LENGTH_MAX) -> Label:
    """A text in both languages."""
    both = members(value, path, ("zh", "en"))
    zh = text(both["zh"], (*path, "zh"), length_max)
    return Label(zh, text(both["en"], (*path, "en"), length_max))


def matched(value: Json, path: Path, form: re.Pattern[str]) -> str:
    """A name of this form."""
    if not isinstance(value, str) or not form.fullmatch(value):
        raise TemplateError("name", path, form=form.pattern)
    return value


def name(value: Json, path: Path) -> str:
    """A name in lower case."""
    return matched(value, path, NAME)


def one_of(value: Json, path: Path, known: Sequence[str]) -> str:
    """A word of a closed vocabulary."""
    if not isinstance(value, str) or value not in known:
        raise TemplateError("vocabulary", path, known=", ".join(known))
    return value


def number(value: Json, path: Path, least: int = 0, greatest: int = INTEGER_BOUND - 1) -> int:
    """A whole number within bounds."""
    if type(value) is not int or not least <= value <= greatest:
        raise TemplateError("number", path)
    return value


def flag(found: dict[str, Json], member: str, path: Path) -> bool:
    """A member that is true or absent, so that a template has one spelling."""
    if member in found and found[member] is not True:
        raise TemplateError("flag", (*path, member))
    return member in found


def distinct(names: Sequence[str], path: Path) -> None:
    """Refuse a list in which a name stands twice."""
    seen: set[str] = set()
    for place, each in enumerate(names):
        if each in seen:
            raise TemplateError("duplicate", (*path, place), name=each)
        seen.add(each)


def known_name(value: str, path: Path, known: Collection[str]) -> None:
    """Refuse what the template does not have."""
    if value not in known:
        raise TemplateError("reference", path, name=value)
