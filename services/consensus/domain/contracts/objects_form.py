"""The form of a JR/T 0314 data object: its header's members and their lengths.

`SCHEMA_FAILED` names the field at fault. The official JSON schema of the bodies is not public, so a
body is asked only whether it is an object, and empty exactly when the object is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal

PROTOCOL: Final = "区域性股权市场跨链业务数据模型"
OPERATIONS: Final = ("create", "update", "overwrite", "delete")
SEALS_MAX: Final = 8
NUMBER_BOUND: Final = 1 << 53

_SOURCE_MEMBERS: Final = ("chain_id", "node", "org_did", "system")


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """What the life cycle needs of a header. `source_chain` is None where none is stated."""

    model_version: str
    object_id: str
    content_type: str
    version: int
    operation: str
    source_chain: str | None


def read_object(value: Mapping[str, Json]) -> ObjectHeader:
    """Check the form of a data object and return what its header says, or refuse."""
    _require_members(value, "", ("header", "body"), ())
    header = _object(value["header"], "header")
    required = ("model", "content", "remark", "seal", "metadata")
    _require_members(header, "header.", required, ("source",))
    model_version = _read_model(_object(header["model"], "header.model"))
    _text(header["remark"], "header.remark", 2_048, length_min=0)
    _object(header["metadata"], "header.metadata")
    _check_seals(header["seal"])
    content = _object(header["content"], "header.content")
    operation = _read_operation(content)
    _check_body(value["body"], operation)
    return ObjectHeader(
        model_version=model_version,
        object_id=_text(content["object_id"], "header.content.object_id", 128),
        content_type=_text(content["type"], "header.content.type", 32),
        version=_natural(content["version"], "header.content.version"),
        operation=operation,
        source_chain=_source_chain(header.get("source")),
    )


def _read_model(model: Mapping[str, Json]) -> str:
    """The version of the data model."""
    _require_members(model, "header.model.", ("protocol", "version"), ())
    if model["protocol"] != PROTOCOL:
        _refuse("header.model.protocol", f"not {PROTOCOL}")
    return _text(model["version"], "header.model.version", 32)


def _read_operation(content: Mapping[str, Json]) -> str:
    required = ("type", "object_id", "version", "operation", "timestamp")
    _require_members(content, "header.content.", required, ())
    _natural(content["timestamp"], "header.content.timestamp")
    operation = content["operation"]
    if not isinstance(operation, str) or operation not in OPERATIONS:
        _refuse("header.content.operation", "not one of " + ", ".join(OPERATIONS))
    return operation


def _check_body(value: Json, operation: str) -> None:
    body = _object(value, "body")
    if bool(body) == (operation == "delete"):
        _refuse("body", "empty exactly when the object is deleted")


def _check_seals(value: Json) -> None:
    if not isinstance(value, list) or len(value) > SEALS_MAX:
        _refuse("header.seal", f"not an array of at most {SEALS_MAX} seals")
    for index, entry in enumerate(value):
        path = f"header.seal[{index}]"
        seal = _object(entry, path)
        _require_members(seal, f"{path}.", ("pub_key", "digest_algo", "signature"), ())
        key = _object(seal["pub_key"], f"{path}.pub_key")
        _require_members(key, f"{path}.pub_key.", ("type", "value"), ())
        if key["type"] != "SM2" or seal["digest_algo"] != "SM3":
            _refuse(path, "not sealed with SM2 and SM3")
        _text(key["value"], f"{path}.pub_key.value", 512)
        _text(seal["signature"], f"{path}.signature", 1_024)


def _source_chain(value: Json) -> str | None:
    """Return the chain of a stated source, which then names node, organisation and system too."""
    if value is None:
        return None
    source = _object(value, "header.source")
    for name in _SOURCE_MEMBERS:
        member = source.get(name)
        if not isinstance(member, str) or not member:
            raise Refusal("SOURCE_MISSING", field=f"header.source.{name}")
    return _text(source["chain_id"], "header.source.chain_id", 64)


def _require_members(
    value: Mapping[str, Json], path: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    for name in required:
        if name not in value:
            _refuse(path + name, "missing")
    for name in sorted(value):
        if name not in required and name not in optional:
            _refuse(path + name[:64], "unknown")


def _object(value: Json, field: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        _refuse(field, "not an object")
    return value


def _text(value: Json, field: str, length_max: int, *, length_min: int = 1) -> str:
    if not isinstance(value, str) or not length_min <= len(value) <= length_max:
        _refuse(field, f"not a string of {length_min} to {length_max} characters")
    return value


def _natural(value: Json, field: str) -> int:
    if type(value) is not int or not 0 <= value < NUMBER_BOUND:
        _refuse(field, "not an integer from 0 to 2^53 - 1")
    return value


def _refuse(field: str, fault: str) -> NoReturn:
    raise Refusal("SCHEMA_FAILED", field=field, fault=fault)
