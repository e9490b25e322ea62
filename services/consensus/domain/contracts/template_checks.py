"""What the regulatory chain asks of a template that comes to it, and any chain of a contract that
is to run by one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets_host import hex_bytes
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.template.conformance import deviations
from services.consensus.domain.contracts.template.faults import TemplateError, shown_path
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import Template

DIGEST_BYTES: Final = 32


def require_template(value: Json, formats: Collection[str]) -> Template:
    """The template that a body brings, in a format that the calling contract's version knows;
    raises `Refusal`.
    """
    try:
        found = read_template(value, formats)
        if found.own is not None:
            raise TemplateError("own_not_deployed", ("own",))
    except TemplateError as error:
        place = shown_path(error.path)[:200]
        raise Refusal("TEMPLATE_MALFORMED", rule=error.rule, place=place) from None
    return found


def require_conforming(template: Template, module: Module) -> None:
    """Refuse a contract that does not keep to the template (G2-08-4)."""
    odd = deviations(template, module)
    if odd:
        what = f"{odd[0].rule} {odd[0].what}"[:300]
        raise Refusal("TEMPLATE_NONCONFORMING", what=what, line=odd[0].line, count=len(odd))


def require_digest(value: Json, field: str) -> Json:
    """A digest in hex; raises `Refusal`."""
    if len(hex_bytes(value, field, DIGEST_BYTES)) != DIGEST_BYTES:
        raise Refusal("BODY_MALFORMED", field=field, fault=f"not {DIGEST_BYTES} bytes in hex")
    return value
