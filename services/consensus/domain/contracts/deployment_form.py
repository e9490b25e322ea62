"""Reads what the contract `contracts` is given: the code of a deployment, and orders about one.

A deployment carries the canonical form, not a source to be parsed: what a parser or the Unicode
tables of one Python version make of a source, another may not. The source comes along for readers;
whoever reviews it compiles it and compares the digests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets_host import require_members
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import ENGINE, Module
from services.consensus.domain.contracts.star.package import Code
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX

REASON_LENGTH_MAX: Final = 500
CONTRACT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{2,63}")


def read_name(value: Json) -> str:
    """The name of a contract in star/1; raises `Refusal`."""
    if not isinstance(value, str) or not CONTRACT_NAME.fullmatch(value):
        raise _malformed("name", f"not of the form {CONTRACT_NAME.pattern}")
    return value


def read_code(body: Mapping[str, Json]) -> Code:
    """Read `engine`, `ir` (JSON in a string) and `source`; raises `Refusal`, for a form that is not
    star/1 with its rule and line.
    """
    engine = body["engine"]
    if engine != ENGINE:
        named = engine[:64] if isinstance(engine, str) else type(engine).__name__
        raise Refusal("CONTRACT_ENGINE_UNKNOWN", engine=named)
    source = body["source"]
    if not isinstance(source, str) or len(source.encode()) > SOURCE_BYTES_MAX:
        raise _malformed("source", f"not a text of at most {SOURCE_BYTES_MAX} bytes")
    return Code(_module(body["ir"]), source)


def read_reason(value: Json) -> str:
    """Why a contract is paused, resumed or destroyed: for the record."""
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= len(value) <= REASON_LENGTH_MAX:
        raise _malformed("reason", f"not a text of 1 to {REASON_LENGTH_MAX} characters")
    return value


def read_members(body: Mapping[str, Json], *wanted: str) -> None:
    """Refuse a body with other members."""
    require_members(body, "", " ".join(wanted))


def _module(value: Json) -> Module:
    if not isinstance(value, str):
        raise _malformed("ir", "not the canonical form as text")
    try:
        return read_form(value.encode())
    except SourceError as error:
        place: dict[str, Json] = {"line": error.line, "column": error.column}
        raise Refusal(
            "CONTRACT_SOURCE_REFUSED", **{**error.fields, **place, "rule": error.rule}
        ) from None


def _malformed(field: str, fault: str) -> Refusal:
    return Refusal("BODY_MALFORMED", field=field, fault=fault)
