"""What changes between two versions of a template, and whether who relies on the old one notices.

Decided by comparing, not by what an author declares (G2-14-4). A change breaks if a caller's
request is refused or means something else, or if a reader meets in an old place what the old
version does not name. New methods, events, groups and optional fields break nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.consensus.domain.contracts.template.differences import Change, both, differ, sets
from services.consensus.domain.contracts.template.model import Template, Transition
from services.consensus.domain.contracts.template.shapes import Field
from services.consensus.domain.contracts.template.shapes_changes import (
    alternatives,
    event_shapes,
    shape,
    shapes,
)

SENTENCES: Final = {
    "removed": ("删除", "removed"),
    "added": ("新增", "added"),
    "changed": ("改变", "changed"),
    "required_added": ("新增必填项", "added, and has to be given"),
    "narrowed": ("收窄", "narrowed"),
    "widened": ("放宽", "widened"),
    "new_value": ("出现旧版没有的取值", "a value that the old version does not name"),
    "text_changed": ("文字改变", "wording changed"),
}


def changes(old: Template, new: Template) -> list[Change]:
    """All differences, those that break first; the version's own number is none."""
    found = {
        *_plain(old, new),
        *_roles(old, new),
        *_groups(old, new),
        *_states(old, new),
        *_transitions(old, new),
        *_events(old, new),
        *_views(old, new),
        *_parameters(old, new),
        *shapes(old, new),
    }
    return sorted(found, key=lambda each: (not each.is_breaking, each))


def is_compatible(old: Template, new: Template) -> bool:
    """Whether nothing breaks."""
    return not any(each.is_breaking for each in changes(old, new))


def _plain(old: Template, new: Template) -> Iterator[Change]:
    for name, was, now in (
        ("id", old.id, new.id),
        ("class", old.template_class, new.template_class),
    ):
        if was != now:
            yield Change(name, "changed", True)
    if old.format != new.format:
        yield Change("format", "changed", False)
    yield from _basis(old, new)
    if old.title != new.title:
        yield Change("title", "text_changed", False)
    if old.description != new.description:
        yield Change("description", "text_changed", False)
    if set(old.orientation) != set(new.orientation):
        yield Change("orientation", "changed", False)


def _basis(old: Template, new: Template) -> Iterator[Change]:
    if old.own is None and new.own is None:
        if old.key != new.key:
            yield Change("key", "changed", True)
        if old.supervision != new.supervision:
            yield Change("supervision", "changed", True)
        if old.contract.module.encoded != new.contract.module.encoded:
            yield Change("contract", "changed", False)
    elif old.own is None or new.own is None or old.own.name != new.own.name:
        yield Change("own", "changed", True)
    elif old.own != new.own:
        yield Change("own.form", "changed", False)


def _roles(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.name: each for each in all_.roles} for all_ in (old, new))
    yield from sets("roles", was, now)
    for name, before, after in both(was, now):
        yield from differ(f"roles.{name}", before, after, {})


def _groups(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.name: each for each in all_.groups} for all_ in (old, new))
    yield from sets("groups", was, now)
    for name, before, after in both(was, now):
        place = f"groups.{name}"
        yield from differ(place, before, after, {"tier": "tier", "state": "state"})
        fields = {each.name: each for each in before.fields}
        others = {each.name: each for each in after.fields}
        for gone in fields.keys() - others.keys():
            yield Change(f"{place}.fields.{gone}", "removed", True)
        for more in others.keys() - fields.keys():
            is_required = not others[more].is_optional
            rule = "required_added" if is_required else "added"
            yield Change(f"{place}.fields.{more}", rule, is_required)
        for field, first, second in both(fields, others):
            yield from _field(f"{place}.fields.{field}", first, second)


def _field(place: str, old: Field, new: Field) -> Iterator[Change]:
    yield from differ(place, old, new, {"type": "type", "unit": "unit"})
    if old.is_optional is not new.is_optional:
        # A value that was always there may now be missing; one that could be left out may not.
        yield Change(f"{place}.optional", "changed", True)
    was, now = (dict.fromkeys(each.values) for each in (old, new))
    yield from sets(f"{place}.values", was, now, added_breaks=True)
    yield from shape(place, old, new, is_read=True)


def _states(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.name: each for each in all_.states} for all_ in (old, new))
    yield from sets("states", was, now, added_breaks=True)
    for name, before, after in both(was, now):
        yield from differ(f"states.{name}", before, after, {"is_final": "final"})


def _transitions(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.method: each for each in all_.transitions} for all_ in (old, new))
    yield from sets("transitions", was, now)
    for name, before, after in both(was, now):
        place = f"transitions.{name}"
        fixed = {"target": "to", "role": "role", "checker": "checker", "event": "event"}
        yield from differ(place, before, after, fixed)
        yield from _sources(place, before, after)
        yield from _takes(place, before.takes, after.takes, new)
        yield from alternatives(place, before, after)


def _sources(place: str, old: Transition, new: Transition) -> Iterator[Change]:
    if (not old.sources) is not (not new.sources):
        yield Change(f"{place}.from", "changed", True)
        return
    for gone in set(old.sources) - set(new.sources):
        yield Change(f"{place}.from.{gone}", "narrowed", True)
    for more in set(new.sources) - set(old.sources):
        yield Change(f"{place}.from.{more}", "widened", False)


def _takes(
    place: str, old: tuple[str, ...], new: tuple[str, ...], template: Template
) -> Iterator[Change]:
    """What a caller of the old version does not give has to be optional."""
    for gone in set(old) - set(new):
        yield Change(f"{place}.takes.{gone}", "removed", True)
    for more in set(new) - set(old):
        found = template.values.get(more)
        is_optional = found is not None and found.field.is_optional
        rule = "added" if is_optional else "required_added"
        yield Change(f"{place}.takes.{more}", rule, not is_optional)


def _events(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.topic: each for each in all_.events} for all_ in (old, new))
    yield from sets("events", was, now)
    for topic, before, after in both(was, now):
        yield from differ(f"events.{topic}", before, after, {})
        members = (dict.fromkeys(each.members) for each in (before, after))
        yield from sets(f"events.{topic}.members", *members)
        yield from event_shapes(f"events.{topic}", before, after)


def _views(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.method: each for each in all_.views} for all_ in (old, new))
    yield from sets("views", was, now)
    for name, before, after in both(was, now):
        yield from differ(f"views.{name}", before, after, {})
        yield from _takes(f"views.{name}", before.takes, after.takes, new)


def _parameters(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.name: each for each in all_.parameters} for all_ in (old, new))
    for gone in was.keys() - now.keys():
        yield Change(f"parameters.{gone}", "removed", True)
    for more in now.keys() - was.keys():
        # A contract of the old version does not have the constant: it would not conform.
        yield Change(f"parameters.{more}", "required_added", True)
    for name, before, after in both(was, now):
        place = f"parameters.{name}"
        yield from differ(place, before, after, {"type": "type", "unit": "unit"})
        if after.least > before.least or after.greatest < before.greatest:
            yield Change(f"{place}.bounds", "narrowed", True)
        elif (after.least, after.greatest) != (before.least, before.greatest):
            yield Change(f"{place}.bounds", "widened", False)
        if before.default != after.default:
            yield Change(f"{place}.default", "changed", False)
