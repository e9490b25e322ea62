"""One difference between two versions of a template, and how differences are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from guqiao_sdk.proof.json_values import Json


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One difference; `place` names it, such as `groups.company.fields.uscc.type`."""

    place: str
    rule: str
    is_breaking: bool

    def to_json(self) -> dict[str, Json]:
        """For receipts and for tools."""
        return {"place": self.place, "rule": self.rule, "breaking": self.is_breaking}


def sets(
    place: str, old: Mapping[str, Any], new: Mapping[str, Any], *, added_breaks: bool = False
) -> Iterator[Change]:
    """What is gone and what is new."""
    for name in old.keys() - new.keys():
        yield Change(f"{place}.{name}", "removed", True)
    for name in new.keys() - old.keys():
        yield Change(f"{place}.{name}", "new_value" if added_breaks else "added", added_breaks)


def both(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(old.keys() & new.keys()):
        yield name, old[name], new[name]


def differ(place: str, old: Any, new: Any, members: Mapping[str, str]) -> Iterator[Change]:
    """Members whose every change breaks, by attribute and spelling; a title is only wording."""
    for attribute, spelled in members.items():
        if getattr(old, attribute) != getattr(new, attribute):
            yield Change(f"{place}.{spelled}", "changed", True)
    if old.title != new.title:
        yield Change(f"{place}.title", "text_changed", False)
