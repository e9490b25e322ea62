"""Reads a template from its canonical JSON; anything else is refused with its place and a sentence.

Whoever reads one has it whole: parts, names that the parts use of one another, and the contract's
checked canonical form. Whether the contract keeps to the template is another question, of
`conformance`.
"""

from __future__ import annotations

from typing import Final

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
    Event,
    Field,
    Group,
    Parameter,
    Role,
    State,
    Supervision,
    Template,
    Transition,
    View,
)
from services.consensus.domain.contracts.template.vocabulary import (
    ORIENTATIONS,
    TYPES,
    TemplateClass,
    Tier,
)

DESCRIPTION_LENGTH_MAX: Final = 1_000
VERSION_MAX: Final = 1_000_000
MEMBERS: Final = (
    *("format", "id", "version", "class", "title", "description", "orientation", "key"),
    *("roles", "parameters", "groups", "states", "transitions", "events", "views"),
    *("supervision", "contract"),
)
_NUMBERS: Final = tuple(name for name, each in TYPES.items() if each.kind == "int")


def read_template(value: Json) -> Template:
    """The template that a value is; raises `TemplateError`. Its `to_json` gives the value back."""
    whole = reading.members(value, (), MEMBERS)
    if whole["format"] != FORMAT:
        raise TemplateError("format", ("format",), expected=FORMAT)
    template = Template(
        id=reading.name(whole["id"], ("id",)),
        version=reading.number(whole["version"], ("version",), 1, VERSION_MAX),
        template_class=TemplateClass(
            reading.one_of(whole["class"], ("class",), tuple(TemplateClass))
        ),
        title=reading.label(whole["title"], ("title",)),
        description=reading.label(whole["description"], ("description",), DESCRIPTION_LENGTH_MAX),
        orientation=_orientation(whole["orientation"]),
        key=reading.name(whole["key"], ("key",)),
        roles=reading.rows(whole["roles"], ("roles",), _role, least=1),
        parameters=reading.rows(whole["parameters"], ("parameters",), _parameter),
        groups=reading.rows(whole["groups"], ("groups",), _group, least=1),
        states=reading.rows(whole["states"], ("states",), _state, least=1),
        transitions=reading.rows(whole["transitions"], ("transitions",), _transition, least=1),
        events=reading.rows(whole["events"], ("events",), _event, least=1),
        views=reading.rows(whole["views"], ("views",), _view),
        supervision=_supervision(whole["supervision"], ("supervision",)),
        contract=_code(whole["contract"], ("contract",)),
    )
    check_template(template)
    return template


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


def _parameter(value: Json, path: Path) -> Parameter:
    wanted = ("name", "type", "unit", "default", "least", "greatest", "title")
    found = reading.members(value, path, wanted)
    least = reading.number(found["least"], (*path, "least"))
    greatest = reading.number(found["greatest"], (*path, "greatest"))
    default = reading.number(found["default"], (*path, "default"))
    if not least <= default <= greatest:
        raise TemplateError("bounds", (*path, "default"))
    kind = reading.one_of(found["type"], (*path, "type"), _NUMBERS)
    unit = _unit(found, kind, path)
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


def _group(value: Json, path: Path) -> Group:
    found = reading.members(value, path, ("name", "tier", "state", "title", "fields"))
    tier = Tier(reading.one_of(found["tier"], (*path, "tier"), tuple(Tier)))
    fields = reading.rows(found["fields"], (*path, "fields"), _field, least=1)
    for number, field in enumerate(fields):
        if TYPES[field.type].is_personal and tier is not Tier.NONPUBLIC:
            raise TemplateError("personal", (*path, "fields", number, "type"), type=field.type)
    return Group(
        name=reading.name(found["name"], (*path, "name")),
        tier=tier,
        state=reading.matched(found["state"], (*path, "state"), reading.PREFIX),
        title=reading.label(found["title"], (*path, "title")),
        fields=fields,
    )


def _field(value: Json, path: Path) -> Field:
    wanted, optional = ("name", "type", "title"), ("unit", "values", "optional")
    found = reading.members(value, path, wanted, optional)
    kind = reading.one_of(found["type"], (*path, "type"), tuple(TYPES))
    if ("values" in found) is not (kind == "enum"):
        raise TemplateError("values", (*path, "values") if "values" in found else path)
    values: tuple[str, ...] = ()
    if "values" in found:
        values = reading.rows(found["values"], (*path, "values"), _symbol, least=1)
        reading.distinct(values, (*path, "values"))
    return Field(
        name=reading.name(found["name"], (*path, "name")),
        type=kind,
        title=reading.label(found["title"], (*path, "title")),
        unit=_unit(found, kind, path),
        values=values,
        is_optional=reading.flag(found, "optional", path),
    )


def _unit(found: dict[str, Json], kind: str, path: Path) -> str | None:
    units = TYPES[kind].units
    unit = found.get("unit")
    if (unit not in units) if units else ("unit" in found):
        at = (*path, "unit") if "unit" in found else path
        raise TemplateError("unit", at, units=", ".join(units) or "-")
    return unit if isinstance(unit, str) else None


def _symbol(value: Json, path: Path) -> str:
    return reading.matched(value, path, reading.CONSTANT)


def _state(value: Json, path: Path) -> State:
    found = reading.members(value, path, ("name", "title"), ("final",))
    title = reading.label(found["title"], (*path, "title"))
    is_final = reading.flag(found, "final", path)
    return State(_symbol(found["name"], (*path, "name")), title, is_final)


def _transition(value: Json, path: Path) -> Transition:
    wanted = ("method", "from", "to", "role", "event", "takes", "title")
    found = reading.members(value, path, wanted, ("checker",))
    checker = found.get("checker")
    return Transition(
        method=reading.name(found["method"], (*path, "method")),
        sources=reading.rows(found["from"], (*path, "from"), _symbol),
        target=_symbol(found["to"], (*path, "to")),
        role=reading.name(found["role"], (*path, "role")),
        checker=None if "checker" not in found else reading.name(checker, (*path, "checker")),
        event=reading.matched(found["event"], (*path, "event"), reading.TOPIC),
        takes=reading.rows(found["takes"], (*path, "takes"), reading.name),
        title=reading.label(found["title"], (*path, "title")),
    )


def _event(value: Json, path: Path) -> Event:
    found = reading.members(value, path, ("topic", "members", "title"))
    topic = reading.matched(found["topic"], (*path, "topic"), reading.TOPIC)
    names = reading.rows(found["members"], (*path, "members"), reading.name, least=1)
    return Event(topic, names, reading.label(found["title"], (*path, "title")))


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
