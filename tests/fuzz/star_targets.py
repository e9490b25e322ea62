"""What the contract engine is given: sources, canonical forms and templates from anybody."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from services.consensus.domain.contracts.star.check import check
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import IR_BYTES_MAX, Module
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.template.faults import TemplateError
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import Template
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import json_value
from tests.unit.star.programs import Programs
from tests.unit.templates.template_market import template

SOURCES: Final = [Programs(seed).source().encode() for seed in (1, 2, 3)]

SHORT: Final = [
    b"A = [1, {'a': -2}]\n\ndef f(a, b=2):\n    for x in A:\n        a += x\n    return a[b:]\n",
    b"def g(a):\n    return f(a) if a else 1\n"
    b"\ndef f(b):\n    b[0] = [x for x in b]\n    c, d = b\n",
    b"def h(a):\n    c = sorted(a.keys(), key=lambda k: -k)\n    require(not c, 'CODE_OF', n=1)\n",
]
"""Forms are spoiled whole again and again: short ones."""


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    forms = [compile_source(source).encoded for source in SHORT]
    return (
        Target("star/1 source", compile_source, (SourceError,), SOURCES, mutations.of_bytes),
        Target("star/1 form", _of_json, (SourceError, JsonError), forms, mutations.of_json),
        Target(
            "contract template", _template, (TemplateError, JsonError), _templates(),
            mutations.of_json,
        ),
    )  # fmt: skip


def _templates() -> list[bytes]:
    """Templates with a short contract."""
    code: dict[str, Json] = {
        "engine": "star/1",
        "ir": compile_source(SHORT[0]).encoded.decode(),
        "source": SHORT[0].decode(),
    }
    names = ("subject", "registration")
    return [canonical_json({**template(name).to_json(), "contract": code}) for name in names]


def _template(data: bytes) -> Template:
    return read_template(json_value(data))


def _of_json(data: bytes) -> Module:
    return check(parse_json_strict(data, depth_max=64, size_max=IR_BYTES_MAX))
