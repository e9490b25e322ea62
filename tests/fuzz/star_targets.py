"""What the contract engine is given: sources, and canonical forms from anybody."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.json_values import JsonError, parse_json_strict
from services.consensus.domain.contracts.star.check import check
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import IR_BYTES_MAX, Module
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.fuzz import mutations
from tests.fuzz.harness import Target
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
    return (
        Target("star/1 source", compile_source, (SourceError,), SOURCES, mutations.of_bytes),
        Target("star/1 form", _of_json, (SourceError, JsonError), forms, mutations.of_json),
    )


def _of_json(data: bytes) -> Module:
    return check(parse_json_strict(data, depth_max=64, size_max=IR_BYTES_MAX))
