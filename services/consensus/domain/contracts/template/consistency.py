"""Whether the parts of a template fit together: names are unique, and what is named exists.

What format 2 adds is looked at by `shapes_consistency`.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.consensus.domain.contracts.template.faults import Path, TemplateError
from services.consensus.domain.contracts.template.model import FORMAT, Event, Template
from services.consensus.domain.contracts.template.reading import distinct, known_name
from services.consensus.domain.contracts.template.shapes_consistency import check_shapes
from services.consensus.domain.contracts.template.vocabulary import STATE, Tier


def check_template(template: Template) -> None:
    """Refuse a template whose parts do not fit; raises `TemplateError`."""
    _check_names(template)
    _check_prefixes(template)
    if template.own is None:
        _check_key(template)
    _check_transitions(template)
    _check_states(template)
    if template.format == FORMAT:
        _check_events(template)
    else:
        check_shapes(template)
    _check_views(template)


def arguments(template: Template) -> frozenset[str]:
    """What methods may take: fields that are on chain, arguments that no group keeps, and the
    descriptions of what is not on chain.
    """
    on_chain = {name for name, each in template.values.items() if each.tier is not Tier.NONPUBLIC}
    described = {name for group in template.groups for name in group.descriptions}
    return frozenset(on_chain | described)


def _check_names(template: Template) -> None:
    lists: list[tuple[str, list[str]]] = [
        ("roles", [each.name for each in template.roles]),
        ("parameters", [each.name for each in template.parameters]),
        ("groups", [each.name for each in template.groups]),
        ("states", [each.name for each in template.states]),
        ("transitions", [each.method for each in template.transitions]),
        ("events", [each.topic for each in template.events]),
    ]
    for where, names in lists:
        distinct(names, (where,))
    methods = [each.method for each in template.transitions]
    named = [] if template.own else [template.supervision.view]
    views = [*named, *(each.method for each in template.views)]
    for number, method in enumerate(views):
        if method in [*methods, *views[:number]]:
            at = number - len(named)
            path: Path = ("supervision",) if at < 0 else ("views", at)
            raise TemplateError("duplicate", path, name=method)
    seen = {STATE}
    for path, name in _field_names(template):
        if name in seen:
            raise TemplateError("duplicate", path, name=name)
        seen.add(name)


def _field_names(template: Template) -> Iterator[tuple[Path, str]]:
    for at, group in enumerate(template.groups):
        for number, field in enumerate(group.fields):
            yield ("groups", at, "fields", number, "name"), field.name
        for name in group.descriptions:
            yield ("groups", at, "name"), name
    for at, each in enumerate(template.arguments):
        yield ("arguments", at, "name"), each.field.name


def _check_prefixes(template: Template) -> None:
    """Prefixes end with the one / in them, so none begins with another unless they are the same."""
    seen = set() if template.own else {template.supervision.state}
    for number, group in enumerate(template.groups):
        if group.state in seen:
            raise TemplateError("prefix", ("groups", number, "state"))
        seen.add(group.state)


def _check_key(template: Template) -> None:
    found = template.fields.get(template.key)
    is_public = found is not None and found[0].tier is Tier.PUBLIC
    if found is None or not is_public or found[1].record is not None or found[1].many is not None:
        raise TemplateError("key", ("key",))


def _check_transitions(template: Template) -> None:
    states = {each.name for each in template.states}
    roles = {each.name for each in template.roles}
    topics = {each.topic for each in template.events}
    known = arguments(template) - (set() if template.own else {template.key})
    for number, each in enumerate(template.transitions):
        path = ("transitions", number)
        distinct(each.sources, (*path, "from"))
        for place, source in enumerate(each.sources):
            known_name(source, (*path, "from", place), states)
        known_name(each.target, (*path, "to"), states)
        known_name(each.role, (*path, "role"), roles)
        if each.checker is not None:
            known_name(each.checker, (*path, "checker"), roles)
        if each.event is not None:
            known_name(each.event, (*path, "event"), topics)
        _check_takes(each.takes, (*path, "takes"), known)


def _check_takes(takes: tuple[str, ...], path: Path, known: frozenset[str]) -> None:
    distinct(takes, path)
    for place, name in enumerate(takes):
        known_name(name, (*path, place), known)


def _check_states(template: Template) -> None:
    if all(each.sources for each in template.transitions):
        raise TemplateError("no_beginning", ("transitions",))
    reached = {to for each in template.transitions if not each.sources for to in each.targets}
    while True:
        further = {
            to
            for each in template.transitions
            if reached.intersection(each.sources)
            for to in each.targets
        }
        if further <= reached:
            break
        reached |= further
    finals = {each.name for each in template.states if each.is_final}
    for number, state in enumerate(template.states):
        if state.name not in reached:
            raise TemplateError("unreachable", ("states", number), name=state.name)
    for number, each in enumerate(template.transitions):
        for left in sorted(finals.intersection(each.sources)):
            raise TemplateError("final", ("transitions", number, "from"), name=left)


def _check_events(template: Template) -> None:
    made = {each.event for each in template.transitions}
    for number, event in enumerate(template.events):
        path = ("events", number)
        if event.topic not in made:
            raise TemplateError("event_unused", path)
        _check_members(template, event, path)


def _check_members(template: Template, event: Event, path: Path) -> None:
    distinct(event.members, (*path, "members"))
    for needed in (template.key, STATE):
        if needed not in event.members:
            raise TemplateError("event_member", (*path, "members"), name=needed)
    for place, name in enumerate(event.members):
        found = template.fields.get(name)
        is_public = found is not None and found[0].tier is Tier.PUBLIC
        if name != STATE and not is_public:
            raise TemplateError("event_member", (*path, "members", place), name=name)


def _check_views(template: Template) -> None:
    known = arguments(template)
    for number, view in enumerate(template.views):
        _check_takes(view.takes, ("views", number, "takes"), known)
