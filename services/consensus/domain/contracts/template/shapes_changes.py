"""What changes between two versions in the parts of format 2.

Who is given a value notices more than who gives it: one value more in a list of those that may be
given breaks nobody who calls, and everybody who reads. A record may be both.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.consensus.domain.contracts.template.differences import Change, both, differ, sets
from services.consensus.domain.contracts.template.model import Event, Template, Transition
from services.consensus.domain.contracts.template.shapes import Field, TieredField
from services.consensus.domain.contracts.template.vocabulary import Tier


def shapes(old: Template, new: Template) -> Iterator[Change]:
    """Records, arguments and data objects."""
    yield from _records(old, new)
    yield from _arguments(old, new)
    yield from _objects(old, new)


def shape(place: str, old: Field, new: Field, *, is_read: bool) -> Iterator[Change]:
    """Which record a field is, and how many values it holds."""
    if old.record != new.record:
        yield Change(f"{place}.record", "changed", True)
    was, now = old.many, new.many
    if was == now:
        return
    if was is None or now is None or was.form is not now.form:
        yield Change(f"{place}.many", "changed", True)
    elif is_read:
        # A reader made room for so many, and relied on so many being there.
        is_wider = now.least < was.least or now.most > was.most
        is_given_less = now.least > was.least or now.most < was.most
        yield Change(f"{place}.many", "widened" if is_wider else "narrowed", True)
        assert is_wider or is_given_less, "they differ"
    elif now.least > was.least or now.most < was.most:
        yield Change(f"{place}.many", "narrowed", True)
    else:
        yield Change(f"{place}.many", "widened", False)


def alternatives(place: str, old: Transition, new: Transition) -> Iterator[Change]:
    """What a step may lead to, who may sign and what is announced besides."""
    was, now = dict.fromkeys(old.or_targets), dict.fromkeys(new.or_targets)
    yield from sets(f"{place}.or_to", was, now, added_breaks=True)
    for member, before, after in (
        ("or_role", old.or_roles, new.or_roles),
        ("or_checker", old.or_checkers, new.or_checkers),
    ):
        for gone in set(before) - set(after):
            yield Change(f"{place}.{member}.{gone}", "narrowed", True)
        for more in set(after) - set(before):
            yield Change(f"{place}.{member}.{more}", "widened", False)
    events = (dict.fromkeys(each.more_events) for each in (old, new))
    yield from sets(f"{place}.more_events", *events)
    if old.checker_by_parameter is not new.checker_by_parameter:
        rule = "narrowed" if old.checker_by_parameter else "widened"
        yield Change(f"{place}.checker_by_parameter", rule, old.checker_by_parameter)


def event_shapes(place: str, old: Event, new: Event) -> Iterator[Change]:
    """Who may read an event, and what its body is. Those of format 1 are PUBLIC."""
    if (old.tier or Tier.PUBLIC) is not (new.tier or Tier.PUBLIC):
        yield Change(f"{place}.tier", "changed", True)
    if old.record != new.record:
        yield Change(f"{place}.record", "changed", True)
    if old.is_in_clear is not new.is_in_clear:
        yield Change(f"{place}.in_clear", "changed", True)


# --- Records and arguments ------------------------------------------------------------------------


def _records(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.name: each for each in all_.records} for all_ in (old, new))
    yield from sets("records", was, now)
    for name, before, after in both(was, now):
        place = f"records.{name}"
        yield from differ(place, before, after, {})
        is_read = _is_read(old, name) or _is_read(new, name)
        is_given = _is_given(old, name) or _is_given(new, name)
        fields = {each.field.name: each for each in before.fields}
        others = {each.field.name: each for each in after.fields}
        for gone in fields.keys() - others.keys():
            yield Change(f"{place}.fields.{gone}", "removed", True)
        for more in others.keys() - fields.keys():
            breaks = is_given and not others[more].field.is_optional
            rule = "required_added" if breaks else "added"
            yield Change(f"{place}.fields.{more}", rule, breaks)
        for field, first, second in both(fields, others):
            yield from _tiered(
                f"{place}.fields.{field}", first, second, is_read=is_read, is_given=is_given
            )


def _arguments(old: Template, new: Template) -> Iterator[Change]:
    """What is gone or new is told by the methods that take it."""
    was, now = ({each.field.name: each for each in all_.arguments} for all_ in (old, new))
    announced = {name for all_ in (old, new) for event in all_.events for name in event.members}
    for name, before, after in both(was, now):
        is_read = name in announced
        yield from _tiered(f"arguments.{name}", before, after, is_read=is_read, is_given=True)


def _tiered(
    place: str, old: TieredField, new: TieredField, *, is_read: bool, is_given: bool
) -> Iterator[Change]:
    if old.tier is not new.tier:
        yield Change(f"{place}.tier", "changed", True)
    was, now = old.field, new.field
    yield from differ(place, was, now, {"type": "type", "unit": "unit"})
    if was.is_optional is not now.is_optional:
        # Who gives it notices where it is asked for, who reads it where it may be missing.
        breaks = is_read if now.is_optional else is_given
        yield Change(f"{place}.optional", "changed", breaks)
    values = (dict.fromkeys(each.values) for each in (was, now))
    yield from sets(f"{place}.values", *values, added_breaks=is_read)
    yield from shape(place, was, now, is_read=is_read)


def _is_read(template: Template, record: str) -> bool:
    """Whether state or events hold the record."""
    values = template.values
    named = [values[name] for each in template.events for name in each.members if name in values]
    fields = [field for _, field in template.fields.values()] + [each.field for each in named]
    begin = {each.record for each in fields} | {each.record for each in template.events}
    return record in _reached(template, begin)


def _is_given(template: Template, record: str) -> bool:
    """Whether a method takes the record, or a contract has to keep it."""
    fields = [field for _, field in template.fields.values()]
    fields += [each.field for each in template.arguments]
    return record in _reached(template, {each.record for each in fields})


def _reached(template: Template, begin: set[str | None]) -> set[str | None]:
    """The records of `begin` and all that they hold: each holds only those listed before it."""
    found = set(begin)
    for record in reversed(template.records):
        if record.name in found:
            found |= {each.field.record for each in record.fields}
    return found


# --- Data objects ---------------------------------------------------------------------------------


def _objects(old: Template, new: Template) -> Iterator[Change]:
    was, now = ({each.type: each for each in all_.objects} for all_ in (old, new))
    yield from sets("objects", was, now)
    for kind, before, after in both(was, now):
        place = f"objects.{kind}"
        header = {
            "protocol": "header.protocol",
            "model_version": "header.model_version",
            "operation": "header.operation",
            "object_version": "header.object_version",
            "tier": "tier",
        }
        yield from differ(place, before, after, header)
        for member in ("methods", "body"):
            names = (dict.fromkeys(getattr(each, member)) for each in (before, after))
            yield from sets(f"{place}.{member}", *names)
