"""Reads a template from its canonical JSON; anything else is refused with its place and a sentence.

Whoever reads one has it whole: parts, names that the parts use of one another, and the contract's
checked canonical form. Whether the contract keeps to the template is another question, of
`conformance`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Final, TypeVar

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import ENGINE
from services.consensus.domain.contracts.star.package import Code
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX
from services.consensus.domain.contracts.template import reading
from services.consensus.domain.contracts.template.consistency import check_template
from services.consensus.domain.contracts.template.faults import Path, TemplateError
from services.consensus.domain.contracts.template.model import (
    FORMAT,
    FORMAT_2,
    FORMATS,
    Business,
    Event,
    Group,
    Parameter,
    Role,
    State,
    Supervision,
    Template,
    Transition,
    View,
)
from services.consensus.domain.contracts.template.shapes_form import (
    FIRST,
    OF_OWN,
    ON_CHAIN,
    SECOND,
    Grammar,
    read_field,
    read_object,
    read_own,
    read_record,
    read_tiered,
    symbol,
    unit_of,
)
from services.consensus.domain.contracts.template.vocabulary import (
    ORIENTATIONS,
    TemplateClass,
    Tier,
)

T = TypeVar("T")

DESCRIPTION_LENGTH_MAX: Final = 1_000
VERSION_MAX: Final = 1_000_000
PARTS: Final = (
    *("format", "id", "version", "class", "title", "description", "orientation"),
    *("roles", "parameters", "groups", "states", "transitions", "events", "views"),
)
OWN: Final = "own"
TRANSITION_2: Final = ("or_to", "or_role", "or_checker", "more_events", "checker_by_parameter")
PARTS_2: Final = ("records", "arguments", "objects")
MEMBERS: Final = (*PARTS, "key", "supervision", "contract")
"""Of format 1."""


def read_template(value: Json, formats: Collection[str] = FORMATS) -> Template:
    """The template that a value is, in one of `formats`; raises `TemplateError`. Its `to_json`
    gives the value back.
    """
    whole, grammar = _whole(value, formats)
    template = Template(
        format=FORMAT_2 if grammar.is_second else FORMAT,
        id=reading.name(whole["id"], ("id",)),
        version=reading.number(whole["version"], ("version",), 1, VERSION_MAX),
        template_class=TemplateClass(
            reading.one_of(whole["class"], ("class",), tuple(TemplateClass))
        ),
        title=reading.label(whole["title"], ("title",)),
        description=reading.label(whole["description"], ("description",), DESCRIPTION_LENGTH_MAX),
        orientation=_orientation(whole["orientation"]),
        roles=reading.rows(whole["roles"], ("roles",), _role, least=1),
        parameters=_rows(whole, "parameters", partial(_parameter, grammar=grammar)),
        groups=_rows(whole, "groups", partial(_group, grammar=grammar), least=1),
        states=_rows(whole, "states", _state, least=1),
        transitions=_rows(whole, "transitions", partial(_transition, grammar=grammar), least=1),
        events=_rows(whole, "events", _event_2 if grammar.is_second else _event, least=1),
        views=_rows(whole, "views", _view),
        basis=read_own(whole[OWN], (OWN,)) if OWN in whole else _business(whole),
        records=_rows(whole, "records", read_record),
        arguments=_rows(whole, "arguments", read_tiered),
        objects=_rows(whole, "objects", read_object),
    )
    check_template(template)
    return template


def _whole(value: Json, formats: Collection[str]) -> tuple[dict[str, Json], Grammar]:
    """The members of a template, and what its format has words for."""
    named = value.get("format") if isinstance(value, dict) else None
    if not isinstance(value, dict) or named != FORMAT_2 or FORMAT_2 not in formats:
        whole = reading.members(value, (), MEMBERS)
        if whole["format"] != FORMAT or FORMAT not in formats:
            raise TemplateError("format", ("format",), expected=", ".join(formats))
        return whole, FIRST
    if OWN in value:
        return reading.members(value, (), (*PARTS, *PARTS_2, OWN)), OF_OWN
    return reading.members(value, (), (*MEMBERS, *PARTS_2)), SECOND


def _rows(
    whole: dict[str, Json], member: str, read: Callable[[Json, Path], T], *, least: int = 0
) -> tuple[T, ...]:
    """The parts of a member; none where the format has no such member."""
    return reading.rows(whole[member], (member,), read, least=least) if member in whole else ()


def _business(whole: dict[str, Json]) -> Business:
    return Business(
        key=reading.name(whole["key"], ("key",)),
        supervision=_supervision(whole["supervision"], ("supervision",)),
        contract=_code(whole["contract"], ("contract",)),
    )


def _orientation(value: Json) -> tuple[str, ...]:
    path = ("orientation",)
    known = tuple(ORIENTATIONS)
    tags = reading.rows(value, path, lambda each, at: reading.one_of(each, at, known), least=1)
    reading.distinct(tags, path)
    return tags


def _role(value: Json, path: Path) -> Role:
    found = reading.members(value, path, ("name", "title"))
    name = reading.name(found["name"], (*path, "name"))
    return Role(name, reading.label(found["title"], (*path, "title")))


def _parameter(value: Json, path: Path, grammar: Grammar) -> Parameter:
    numbers = tuple(name for name, each in grammar.types.items() if each.kind == "int")
    wanted = ("name", "type", "unit", "default", "least", "greatest", "title")
    found = reading.members(value, path, wanted)
    least = reading.number(found["least"], (*path, "least"))
    greatest = reading.number(found["greatest"], (*path, "greatest"))
    default = reading.number(found["default"], (*path, "default"))
    if not least <= default <= greatest:
        raise TemplateError("bounds", (*path, "default"))
    kind = reading.one_of(found["type"], (*path, "type"), numbers)
    unit = unit_of(found, kind, path, grammar)
    assert unit is not None, "numbers have units"
    return Parameter(
        name=reading.matched(found["name"], (*path, "name"), reading.CONSTANT),
        type=kind,
        unit=unit,
        default=default,
        least=least,
        greatest=greatest,
        title=reading.label(found["title"], (*path, "title")),
    )


def _group(value: Json, path: Path, grammar: Grammar) -> Group:
    found = reading.members(value, path, ("name", "tier", "state", "title", "fields"))
    tier = Tier(reading.one_of(found["tier"], (*path, "tier"), tuple(Tier)))
    read = partial(read_field, grammar=grammar)
    fields = reading.rows(found["fields"], (*path, "fields"), read, least=1)
    for number, field in enumerate(fields):
        if grammar.types[field.type].is_personal and tier is not Tier.NONPUBLIC:
            raise TemplateError("personal", (*path, "fields", number, "type"), type=field.type)
    return Group(
        name=reading.name(found["name"], (*path, "name")),
        tier=tier,
        state=reading.matched(found["state"], (*path, "state"), grammar.prefix),
        title=reading.label(found["title"], (*path, "title")),
        fields=fields,
    )


def _state(value: Json, path: Path) -> State:
    found = reading.members(value, path, ("name", "title"), ("final",))
    title = reading.label(found["title"], (*path, "title"))
    is_final = reading.flag(found, "final", path)
    return State(symbol(found["name"], (*path, "name")), title, is_final)


def _transition(value: Json, path: Path, grammar: Grammar) -> Transition:
    wanted = ("method", "from", "to", "role", "takes", "title")
    more = ("checker", "event", *TRANSITION_2) if grammar.is_second else ("checker",)
    found = reading.members(
        value, path, (*wanted, *(() if grammar.is_second else ("event",))), more
    )
    checker, event = found.get("checker"), found.get("event")
    return Transition(
        method=reading.name(found["method"], (*path, "method")),
        sources=reading.rows(found["from"], (*path, "from"), symbol),
        target=symbol(found["to"], (*path, "to")),
        role=reading.name(found["role"], (*path, "role")),
        checker=None if "checker" not in found else reading.name(checker, (*path, "checker")),
        event=None if "event" not in found else _topic(event, (*path, "event")),
        takes=reading.rows(found["takes"], (*path, "takes"), reading.name),
        title=reading.label(found["title"], (*path, "title")),
        or_targets=_more(found, "or_to", path, symbol),
        or_roles=_more(found, "or_role", path, reading.name),
        or_checkers=_more(found, "or_checker", path, reading.name),
        more_events=_more(found, "more_events", path, _topic),
        checker_by_parameter=reading.flag(found, "checker_by_parameter", path),
    )


def _more(
    found: dict[str, Json], member: str, path: Path, read: Callable[[Json, Path], str]
) -> tuple[str, ...]:
    """What may stand in place of another, or beside it; what is nothing is left out."""
    if member not in found:
        return ()
    return reading.rows(found[member], (*path, member), read, least=1)


def _topic(value: Json, path: Path) -> str:
    return reading.matched(value, path, reading.TOPIC)


def _event(value: Json, path: Path) -> Event:
    found = reading.members(value, path, ("topic", "members", "title"))
    topic = _topic(found["topic"], (*path, "topic"))
    names = reading.rows(found["members"], (*path, "members"), reading.name, least=1)
    return Event(topic, names, reading.label(found["title"], (*path, "title")))


def _event_2(value: Json, path: Path) -> Event:
    is_record = isinstance(value, dict) and "record" in value
    body = "record" if is_record else "members"
    more = ("in_clear",) if is_record else ()
    found = reading.members(value, path, ("topic", "title", "tier", body), more)
    names: tuple[str, ...] = ()
    if not is_record:
        names = reading.rows(found["members"], (*path, "members"), reading.name, least=1)
    return Event(
        topic=_topic(found["topic"], (*path, "topic")),
        members=names,
        title=reading.label(found["title"], (*path, "title")),
        tier=Tier(reading.one_of(found["tier"], (*path, "tier"), ON_CHAIN)),
        record=reading.name(found["record"], (*path, "record")) if is_record else None,
        is_in_clear=reading.flag(found, "in_clear", path),
    )


def _view(value: Json, path: Path) -> View:
    found = reading.members(value, path, ("method", "takes", "title"))
    method = reading.name(found["method"], (*path, "method"))
    takes = reading.rows(found["takes"], (*path, "takes"), reading.name)
    return View(method, takes, reading.label(found["title"], (*path, "title")))


def _supervision(value: Json, path: Path) -> Supervision:
    found = reading.members(value, path, ("view", "state"))
    view = reading.name(found["view"], (*path, "view"))
    return Supervision(view, reading.matched(found["state"], (*path, "state"), reading.PREFIX))


def _code(value: Json, path: Path) -> Code:
    found = reading.members(value, path, ("engine", "ir", "source"))
    reading.one_of(found["engine"], (*path, "engine"), (ENGINE,))
    source, form = found["source"], found["ir"]
    if not isinstance(source, str) or not 0 < len(source.encode()) <= SOURCE_BYTES_MAX:
        raise TemplateError("large", (*path, "source"), max=SOURCE_BYTES_MAX)
    if not isinstance(form, str):
        raise TemplateError("contract", (*path, "ir"), broken="form", line=0)
    try:
        module = read_form(form.encode())
    except SourceError as error:
        at = (*path, "ir")
        raise TemplateError("contract", at, broken=error.rule, line=error.line) from None
    if module.encoded.decode() != form:
        raise TemplateError("contract", (*path, "ir"), broken="form", line=0)
    return Code(module, source)
