"""Finds numbers of natural persons in data: identity numbers, telephones and bank accounts.

They have no place on a chain (G2-17-7): what is on it cannot be erased. Contracts, the SDK and the
command line judge by this module, so it is pure, takes time linear in what it is given, and asks no
Unicode table: two versions of Python that differ in one would part the replicas of a chain.

Judged is every text, member names included. Whole numbers never are: they are amounts and counts,
many of which would look like a telephone, and what is a number of a person is kept as a text. Names
and addresses of persons have no form that can be recognised, and bank accounts without a check
digit have none either: keeping those off a chain is the matter of templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guqiao_sdk.personal_numbers import Pay, PersonalKind, kind_in_groups
from guqiao_sdk.personal_writing import kind_in_any_writing
from guqiao_sdk.proof.json_values import Json

PATH_LENGTH_MAX: Final = 256
"""Characters of a finding's path; what is longer is cut off."""


class Search(IntEnum):
    """How far a search goes. What one finds is never changed: chains judge by the one that their
    contracts' versions name, and old blocks are executed again.
    """

    GROUPS = 1
    """ASCII and full-width digits, in groups with spaces, hyphens or brackets between them."""

    ANY_WRITING = 2
    """Every decimal digit, with any punctuation or space between them, and what is not seen."""


NEWEST: Final = Search.ANY_WRITING

_SEARCHES: Final[Mapping[Search, Callable[[str, Pay | None], PersonalKind | None]]] = {
    Search.GROUPS: kind_in_groups,
    Search.ANY_WRITING: kind_in_any_writing,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A number of a person. `path` is where: `$.a[3]`, or `$.a.*` for the name of a member of
    `$.a`. The number itself is not in it.
    """

    kind: PersonalKind
    path: str


def find_personal_data(
    value: Json, *, pay: Pay | None = None, search: Search = NEWEST
) -> Finding | None:
    """The first number of a person in `value`, or None. `pay` is told what the next part of the
    search costs, in characters that are looked at closely; what it raises ends the search.
    """
    kind_in = _SEARCHES[search]
    pending: list[tuple[str, Json]] = [("$", value)]
    while pending:
        path, part = pending.pop()
        if isinstance(part, dict):
            for name in part:
                kind = kind_in(name, pay)
                if kind is not None:
                    return Finding(kind, _at(path, ".*"))
            members = [(_at(path, f".{name[:64]}"), each) for name, each in part.items()]
            pending.extend(reversed(members))
        elif isinstance(part, list):
            rows = [(_at(path, f"[{number}]"), each) for number, each in enumerate(part)]
            pending.extend(reversed(rows))
        elif isinstance(part, str):
            kind = kind_in(part, pay)
            if kind is not None:
                return Finding(kind, path)
    return None


def _at(path: str, place: str) -> str:
    return (path + place)[:PATH_LENGTH_MAX]
