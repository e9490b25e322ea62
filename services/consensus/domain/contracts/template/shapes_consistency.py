"""Whether the parts of format 2 fit together: records, arguments, events of a tier, data objects.

RESTRICTED values leave a contract as events in one form alone: sealed to their readers. The chain's
own contracts may also announce them in the clear, for the services of the market that follow its
chain, and then the template says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.consensus.domain.contracts.template.faults import Path, TemplateError
from services.consensus.domain.contracts.template.model import Event, Template, Transition
from services.consensus.domain.contracts.template.reading import distinct, known_name
from services.consensus.domain.contracts.template.shapes import Field
from services.consensus.domain.contracts.template.vocabulary import SEALED, STATE, Tier


def check_shapes(template: Template) -> None:
    """Refuse a template whose parts of format 2 do not fit; raises `TemplateError`."""
    distinct([each.name for each in template.records], ("records",))
    distinct([each.type for each in template.objects], ("objects",))
    _check_records(template)
    for number, each in enumerate(template.transitions):
        _check_alternatives(template, each, ("transitions", number))
    _check_events(template)
    _check_objects(template)
    _check_used(template)


def _fields(template: Template) -> Iterator[tuple[Path, Field, Tier]]:
    """All fields that may be a record or sealed, each with the tier of its place."""
    for at, group in enumerate(template.groups):
        for number, field in enumerate(group.fields):
            yield ("groups", at, "fields", number), field, group.tier
    for at, each in enumerate(template.arguments):
        yield ("arguments", at), each.field, each.tier
    for at, record in enumerate(template.records):
        for number, each in enumerate(record.fields):
            yield ("records", at, "fields", number), each.field, each.tier


def _check_records(template: Template) -> None:
    names = [each.name for each in template.records]
    for path, field, tier in _fields(template):
        if field.type == SEALED:
            is_one = field.many is None and path[0] != "records"
            if tier is not Tier.RESTRICTED or not is_one:
                raise TemplateError("sealed", (*path, "type"))
        if field.record is None:
            continue
        known_name(field.record, (*path, "record"), names)
        if path[0] == "records" and names.index(field.record) >= int(path[1]):
            # Each holds earlier ones alone, so nothing nests without an end.
            raise TemplateError("nested", (*path, "record"), name=field.record)
        if tier is Tier.NONPUBLIC:
            raise TemplateError("record", (*path, "record"))
        if tier is Tier.PUBLIC and template.record_of(field.record).tier is not Tier.PUBLIC:
            raise TemplateError("record_tier", (*path, "record"), name=field.record)


def _check_alternatives(template: Template, each: Transition, path: Path) -> None:
    states = {state.name for state in template.states}
    roles = {role.name for role in template.roles}
    topics = {event.topic for event in template.events}
    for member, names, known in (
        ("or_to", each.targets, states),
        ("or_role", each.roles, roles),
        ("or_checker", each.checkers or each.or_checkers, roles),
        ("more_events", each.events, topics),
    ):
        distinct(names, (*path, member))
        for name in names:
            known_name(name, (*path, member), known)
    has_checker = each.checker is not None
    if (each.or_checkers or each.checker_by_parameter) and not has_checker:
        raise TemplateError("missing", path, member="checker")
    if template.own is None and each.event is None:
        raise TemplateError("missing", path, member="event")


def _check_events(template: Template) -> None:
    made = {topic for each in template.transitions for topic in each.events}
    for number, event in enumerate(template.events):
        path = ("events", number)
        if event.topic not in made:
            raise TemplateError("event_unused", path)
        if event.record is not None:
            _check_record_event(template, event, event.record, path)
        else:
            _check_members(template, event, path)


def _check_record_event(template: Template, event: Event, name: str, path: Path) -> None:
    known_name(name, (*path, "record"), {each.name for each in template.records})
    if template.own is None:
        raise TemplateError("own_alone", (*path, "record"))
    record = template.record_of(name)
    if event.tier is not record.tier:
        raise TemplateError("event_tier", (*path, "tier"))
    if (record.tier is Tier.RESTRICTED) is not event.is_in_clear:
        raise TemplateError("in_clear", path)


def _check_members(template: Template, event: Event, path: Path) -> None:
    at = (*path, "members")
    distinct(event.members, at)
    for needed in (STATE,) if template.own else (template.key, STATE):
        if needed not in event.members:
            raise TemplateError("event_member", at, name=needed)
    values = template.values
    restricted = False
    for place, name in enumerate(event.members):
        if name == STATE:
            continue
        known_name(name, (*at, place), values)
        each = values[name]
        if each.tier is Tier.RESTRICTED and each.field.type == SEALED:
            restricted = True
        elif each.tier is not Tier.PUBLIC:
            raise TemplateError("event_sealed", (*at, place), name=name)
    if restricted is not (event.tier is Tier.RESTRICTED):
        raise TemplateError("event_tier", (*path, "tier"))


def _check_objects(template: Template) -> None:
    methods = {each.method for each in template.transitions}
    told: set[str] = set()
    for number, each in enumerate(template.objects):
        path = ("objects", number)
        if template.own is None:
            raise TemplateError("own_alone", path)
        for place, method in enumerate(each.methods):
            known_name(method, (*path, "methods", place), methods)
            if method in told:
                raise TemplateError("duplicate", (*path, "methods", place), name=method)
            told.add(method)


def _check_used(template: Template) -> None:
    """What nobody takes, keeps or announces has no place in a template."""
    taken = {name for each in template.transitions for name in each.takes}
    taken |= {name for each in template.views for name in each.takes}
    for number, argument in enumerate(template.arguments):
        if argument.field.name not in taken:
            raise TemplateError("unused", ("arguments", number), name=argument.field.name)
    named = {field.record for _, field, _ in _fields(template)}
    named |= {event.record for event in template.events}
    for number, record in enumerate(template.records):
        if record.name not in named:
            raise TemplateError("unused", ("records", number), name=record.name)
