"""What a chain is given as a contract template."""

from __future__ import annotations

from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.template.faults import TemplateError
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import Template
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import json_value
from tests.unit.templates.template_market import template

SOURCE = (
    b"A = [1, {'a': -2}]\n\ndef f(a, b=2):\n    for x in A:\n        a += x\n    return a[b:]\n"
)


def targets() -> tuple[Target, ...]:
    """Templates with a short contract."""
    code: dict[str, Json] = {
        "engine": "star/1",
        "ir": compile_source(SOURCE).encoded.decode(),
        "source": SOURCE.decode(),
    }
    samples = [
        canonical_json({**template(name).to_json(), "contract": code})
        for name in ("subject", "registration")
    ]
    refusals = (TemplateError, JsonError)
    return (Target("contract template", _template, refusals, samples, mutations.of_json),)


def _template(data: bytes) -> Template:
    return read_template(json_value(data))
