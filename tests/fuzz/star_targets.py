"""What the contract engine is given: sources, and canonical forms from anybody."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.json_values import JsonError, canonical_json
from services.consensus.domain.contracts.deployed import FIRST_GAS, GasRules
from services.consensus.domain.contracts.deployment_form import (
    read_code,
    read_members,
    read_name,
    read_reason,
)
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.interface import interface_of
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.package import Code, package
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import json_object, json_value
from tests.unit.star.programs import Programs

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
    bodies = [canonical_json({"name": "ledger_x", **package(source)}) for source in SHORT]
    reasons = [canonical_json({"name": "ledger_x", "reason": "audit"})]
    gas = [canonical_json(FIRST_GAS.to_json())]
    refused = (Refusal, JsonError)
    return (
        Target("star/1 source", compile_source, (SourceError,), SOURCES, mutations.of_bytes),
        Target("star/1 form", _module, (SourceError,), forms, mutations.of_json),
        Target("deployment", _deployment, refused, bodies, mutations.of_json),
        Target("end of a contract", _reason, refused, reasons, mutations.of_json),
        Target("gas rules", _gas, (ValueError,), gas, mutations.of_json),
    )


def _module(data: bytes) -> Module:
    """What can be read can be compared with another one."""
    module = read_form(data)
    interface_of(module)
    return module


def _deployment(data: bytes) -> tuple[str, Code]:
    body = json_object(data)
    read_members(body, "name", "engine", "ir", "source")
    return read_name(body["name"]), read_code(body)


def _reason(data: bytes) -> str:
    body = json_object(data)
    read_members(body, "name", "reason")
    return read_reason(body["reason"])


def _gas(data: bytes) -> GasRules:
    return GasRules.from_json(json_value(data))
