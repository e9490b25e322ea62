"""The register of contract templates on the regulatory chain, and its life cycles (SM-2).

COMMON templates are published by the CSRC alone, market and technology side signing together. An
operator defines its own (SELF) with evidence of tests and of a risk review that a second person
signs, and files it; the CSRC accepts it under a filing number or gives it back. What is kept
conforms: the contract inside a template is held against it here. Whether a version breaks who
relies on the one before is seen in the two, and written down.

    template/<id>/<version>  the record: digest, who, the template itself
    standing/<id>/<version>  where it is in its life (`template/standing.py`)
    head/<id>                class, owner, latest version, and the one in force
    filing/<number>          which template it was given to
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.packets_host import (
    natural,
    require_members,
    text,
)
from services.consensus.domain.contracts.signers import require_csrc, require_operator
from services.consensus.domain.contracts.template.changes import changes
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import FORMAT, FORMATS, Template
from services.consensus.domain.contracts.template.standing import (
    NONE,
    TEMPLATES,
    Standing,
    Status,
    standing_key,
)
from services.consensus.domain.contracts.template.vocabulary import TemplateClass
from services.consensus.domain.contracts.template_checks import (
    require_conforming,
    require_digest,
    require_template,
)

NAME: Final = TEMPLATES
REASON_LENGTH_MAX: Final = 500
CHANGES_MAX: Final = 20
"""Told in an event, those that break first; whoever has both templates finds them all."""

_ID: Final = re.compile(r"[a-z][a-z0-9_]{1,47}")
_FILING_NUMBER: Final = re.compile(r"[A-Z0-9][A-Z0-9-]{3,31}")


TRANSITIONS: Final[Mapping[str, Mapping[str, Status]]] = {
    "publish": {NONE: Status.PUBLISHED},
    "define": {
        NONE: Status.DEFINED,
        Status.DEFINED: Status.DEFINED,
        Status.FILING_RETURNED: Status.DEFINED,
    },
    "file": {Status.DEFINED: Status.FILED},
    "accept": {Status.FILED: Status.FILING_ACCEPTED},
    "give_back": {Status.FILED: Status.FILING_RETURNED},
    "retire": {Status.PUBLISHED: Status.RETIRED, Status.SUPERSEDED: Status.RETIRED},
    "withdraw": {Status.FILING_ACCEPTED: Status.WITHDRAWN},
}
"""What is not listed is ILLEGAL_TRANSITION."""
OPEN: Final = frozenset({Status.DEFINED, Status.FILED, Status.FILING_RETURNED})
"""A version that is not settled: no other is begun."""


@dataclass(frozen=True, slots=True)
class TemplatesContract:
    """`templates`; v1 knows templates of format 1 alone."""

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """For the CSRC and for operators."""
        formats = FORMATS if self.version > 1 else (FORMAT,)
        return {
            "publish": partial(publish, formats=formats),
            "define": partial(define, formats=formats),
            "file": file,
            "accept": accept,
            "give_back": give_back,
            "retire": retire,
            "withdraw": withdraw,
        }


def publish(host: Host, body: Mapping[str, Json], *, formats: Collection[str]) -> None:
    """Put a COMMON template in force; an earlier version is superseded."""
    require_csrc(host)
    require_members(body, "", "template")
    template = _template(body["template"], TemplateClass.COMMON, formats)
    head = _own_head(host, template)
    _require_step("publish", _status(host, template.id, template.version))
    _require_next(host, template, head)
    _write(host, template, Status.PUBLISHED, {})
    _put_in_force(host, template, head, "template.published", {})


def define(host: Host, body: Mapping[str, Json], *, formats: Collection[str]) -> None:
    """Write down a SELF template, with evidence of its tests and of its risk review, which the
    checker signs for. One that is not filed yet, or was given back, may be defined anew.
    """
    require_operator(host)
    require_members(body, "", "template tests risk_review")
    evidence = {name: require_digest(body[name], name) for name in ("tests", "risk_review")}
    template = _template(body["template"], TemplateClass.SELF, formats)
    head = _own_head(host, template)
    status = _status(host, template.id, template.version)
    _require_step("define", status)
    if status == NONE:
        _require_next(host, template, head)
    checker = host.checker()
    assert checker is not None, "an operator's checker was asked for"
    _write(host, template, Status.DEFINED, {**evidence, "reviewer": checker.did})
    host.put(_head_key(template.id), {**head, "latest": template.version})
    host.emit("template.defined", {**_facts(template), **evidence, "reviewer": checker.did})


def file(host: Host, body: Mapping[str, Json]) -> None:
    """File a SELF template with the CSRC."""
    require_operator(host)
    record = _record(host, body, "file")
    _require_owner(host, record)
    _move(host, record, Status.FILED, None, "template.filed")


def accept(host: Host, body: Mapping[str, Json]) -> None:
    """Accept a filing under a number, which is given once; the template is in force."""
    require_csrc(host)
    record = _record(host, body, "accept", "filing_number")
    number = body["filing_number"]
    if not isinstance(number, str) or not _FILING_NUMBER.fullmatch(number):
        form = f"not of the form {_FILING_NUMBER.pattern}"
        raise Refusal("BODY_MALFORMED", field="filing_number", fault=form)
    key = f"filing/{number}"
    if host.get(key) is not None:
        raise Refusal("FILING_NUMBER_TAKEN", number=number)
    template = read_template(record["template"])
    host.put(key, {"id": template.id, "version": template.version})
    _stand(host, template, Standing(Status.FILING_ACCEPTED, template.digest.hex(), number))
    head = _head(host, template)
    _put_in_force(host, template, head, "template.filing_accepted", {"filing_number": number})


def give_back(host: Host, body: Mapping[str, Json]) -> None:
    """Give a filing back, with the reason."""
    require_csrc(host)
    record = _record(host, body, "give_back", "reason")
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    _move(host, record, Status.FILING_RETURNED, reason, "template.filing_returned")


def retire(host: Host, body: Mapping[str, Json]) -> None:
    """End a COMMON template for good, with the reason, such as the plan of a migration."""
    require_csrc(host)
    record = _record(host, body, "retire", "reason")
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    _end(host, record, Status.RETIRED, reason, "template.retired")


def withdraw(host: Host, body: Mapping[str, Json]) -> None:
    """End a SELF template for good, for the operator that filed it."""
    require_operator(host)
    record = _record(host, body, "withdraw", "reason")
    _require_owner(host, record)
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    _end(host, record, Status.WITHDRAWN, reason, "template.withdrawn")


# --- Who -----------------------------------------------------------------------------------------


def _require_owner(host: Host, record: Mapping[str, Json]) -> None:
    if record["organisation"] != host.sender().organisation:
        raise Refusal("TEMPLATE_ID_TAKEN", owner=record["organisation"])


# --- What ----------------------------------------------------------------------------------------


def _template(value: Json, wanted: TemplateClass, formats: Collection[str]) -> Template:
    """The template, of this class and with a contract that conforms to it."""
    found = require_template(value, formats)
    if found.template_class is not wanted:
        raise Refusal("TEMPLATE_CLASS_WRONG", wanted=wanted.value)
    require_conforming(found, found.contract.module)
    return found


def _head(host: Host, template: Template) -> dict[str, Any]:
    """What is known of the id, or what its first version begins with."""
    value = host.get(_head_key(template.id))
    if value is None:
        owner = host.sender().organisation
        cls = template.template_class.value
        return {"class": cls, "organisation": owner, "latest": 0, "in_force": 0}
    assert isinstance(value, dict), "the contract wrote it"
    return value


def _own_head(host: Host, template: Template) -> dict[str, Any]:
    """The same for whoever writes a version: an id has one owner, and one class."""
    head = _head(host, template)
    is_own = head["organisation"] == host.sender().organisation
    if head["class"] != template.template_class.value or not is_own:
        raise Refusal("TEMPLATE_ID_TAKEN", owner=head["organisation"])
    return head


def _require_next(host: Host, template: Template, head: Mapping[str, Any]) -> None:
    """Versions count from 1, and the next is begun once the one before is settled."""
    latest = head["latest"]
    is_open = _status(host, template.id, latest) in OPEN
    expected = latest if is_open else latest + 1
    if template.version != expected:
        raise Refusal("TEMPLATE_VERSION_WRONG", expected=expected)


def _standing(host: Host, identifier: str, version: int) -> Standing | None:
    value = host.get(standing_key(identifier, version))
    return None if value is None else Standing.from_json(value)


def _status(host: Host, identifier: str, version: int) -> str:
    standing = _standing(host, identifier, version)
    return NONE if standing is None else standing.status.value


def _require_step(step: str, status: str) -> None:
    if status not in TRANSITIONS[step]:
        raise Refusal("ILLEGAL_TRANSITION", state=status, event=step)


def _record(host: Host, body: Mapping[str, Json], step: str, *more: str) -> dict[str, Json]:
    """The record that a body names, in a status from which the step may be taken."""
    require_members(body, "", " ".join(("id", "version", *more)))
    identifier, version = body["id"], natural(body["version"], "version")
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise Refusal("BODY_MALFORMED", field="id", fault=f"not of the form {_ID.pattern}")
    value = host.get(_key(identifier, version))
    if value is None:
        raise Refusal("TEMPLATE_UNKNOWN", id=identifier, version=version)
    assert isinstance(value, dict), "the contract wrote it"
    _require_step(step, _status(host, identifier, version))
    return value


# --- What is written -----------------------------------------------------------------------------


def _write(host: Host, template: Template, status: Status, more: Mapping[str, Json]) -> None:
    sender = host.sender()
    record: dict[str, Json] = {
        "digest": template.digest.hex(),
        "organisation": sender.organisation,
        "author": sender.did,
        "height": host.height(),
        "transaction_id": host.transaction_id(),
        "template": template.to_json(),
    }
    host.put(_key(template.id, template.version), {**record, **more})
    _stand(host, template, Standing(status, template.digest.hex()))


def _stand(host: Host, template: Template, standing: Standing) -> None:
    host.put(standing_key(template.id, template.version), standing.to_json())


def _put_in_force(
    host: Host, template: Template, head: dict[str, Any], topic: str, more: Mapping[str, Json]
) -> None:
    """Supersede the version in force, and say whether who relies on it will notice."""
    facts = {**_facts(template), **more}
    former = head["in_force"]
    if former:
        record = host.get(_key(template.id, former))
        assert isinstance(record, dict), "the head names it"
        found = changes(read_template(record["template"]), template)
        told: list[Json] = [each.to_json() for each in found[:CHANGES_MAX]]
        is_compatible = not any(each.is_breaking for each in found)
        standing = _standing(host, template.id, former)
        assert standing is not None, "a record has a standing"
        superseded = standing.moved(Status.SUPERSEDED)
        host.put(standing_key(template.id, former), superseded.to_json())
        facts |= {
            "supersedes": former,
            "compatible": is_compatible,
            "change_count": len(found),
            "changes": told,
        }
    latest = max(head["latest"], template.version)
    host.put(_head_key(template.id), {**head, "latest": latest, "in_force": template.version})
    host.emit(topic, facts)


def _move(
    host: Host, record: dict[str, Json], status: Status, reason: str | None, topic: str
) -> None:
    template = read_template(record["template"])
    standing = _standing(host, template.id, template.version)
    assert standing is not None, "a record has a standing"
    _stand(host, template, standing.moved(status, reason=reason))
    host.emit(topic, _facts(template) if reason is None else _facts(template) | {"reason": reason})


def _end(host: Host, record: dict[str, Json], status: Status, reason: str, topic: str) -> None:
    template = read_template(record["template"])
    head = host.get(_head_key(template.id))
    assert isinstance(head, dict), "a record has a head"
    if head["in_force"] == template.version:
        host.put(_head_key(template.id), {**head, "in_force": 0})
    _move(host, record, status, reason, topic)


def _facts(template: Template) -> dict[str, Json]:
    return {
        "id": template.id,
        "version": template.version,
        "class": template.template_class.value,
        "digest": template.digest.hex(),
    }


def _key(identifier: str, version: int) -> str:
    return f"template/{identifier}/{version:020d}"


def _head_key(identifier: str) -> str:
    return f"head/{identifier}"
