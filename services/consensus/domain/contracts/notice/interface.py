"""What a market's chain shows to the regulatory chain, as a description that two sides compare.

A description names the data model's version, which every data object carries in its header, and the
parts of the interface with their fields: kinds of objects (`object.subject`), calls of the node RPC
(`rpc.block`), contracts (`contract.transfer`). Whether an upgrade breaks is seen in two of these,
before and after, and never taken from who declares it (G2-14-4).

    {"format": "guqiao-interface/1", "model_version": "guqiao-1", "parts": {
        "object.subject": {"fields": {
            "subject_layer": {"type": "text", "required": true, "values": ["F", "G"]}}}}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets_host import require_members

FORMAT: Final = "guqiao-interface/1"
INTERFACE_BYTES_MAX: Final = 262_144
PARTS_MAX, FIELDS_MAX, VALUES_MAX = 256, 1_024, 256
VALUE_LENGTH_MAX: Final = 64
TYPES: Final = (
    "boolean",
    "date",
    "digest",
    "integer",
    "list",
    "object",
    "reference",
    "text",
    "time",
)
OBJECTS: Final = "object."
"""What the names of parts begin with that describe data objects."""

_MODEL_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_PART: Final = re.compile(r"(?:object|rpc|contract)\.[a-z][a-z0-9_]{0,63}")
_FIELD: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:\[\])?(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}(?:\[\])?){0,15}"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a part. `values` is empty where any of its type may stand."""

    type: str
    is_required: bool
    values: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """As descriptions have it."""
        told: dict[str, Json] = {"type": self.type, "required": self.is_required}
        return told | {"values": [*self.values]} if self.values else told


@dataclass(frozen=True, slots=True)
class Interface:
    """A description: fields by part and name."""

    model_version: str
    parts: Mapping[str, Mapping[str, Field]]

    def to_json(self) -> dict[str, Json]:
        """The canonical description, which `read_interface` reads."""
        parts: dict[str, Json] = {}
        for name, fields in self.parts.items():
            told: dict[str, Json] = {field: each.to_json() for field, each in fields.items()}
            parts[name] = {"fields": told}
        return {"format": FORMAT, "model_version": self.model_version, "parts": parts}

    @property
    def digest(self) -> bytes:
        """The digest by which notices name it: SM3, 32 bytes."""
        return digest(FORMAT, canonical_json(self.to_json()))


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One difference; `place` names it, such as `object.subject.subject_layer.type`."""

    place: str
    rule: str
    is_breaking: bool

    def to_json(self) -> dict[str, Json]:
        """For events and for tools."""
        return {"place": self.place, "rule": self.rule, "breaking": self.is_breaking}


def read_interface(value: Json, field: str = "interface") -> Interface:
    """Read a description; raises `Refusal`."""
    members = _object(value, field)
    require_members(members, f"{field}.", "format model_version parts")
    if members["format"] != FORMAT:
        raise _malformed(f"{field}.format", f"not {FORMAT}")
    if len(canonical_json(value)) > INTERFACE_BYTES_MAX:
        raise _malformed(field, f"more than {INTERFACE_BYTES_MAX} bytes")
    version = members["model_version"]
    if not isinstance(version, str) or not _MODEL_VERSION.fullmatch(version):
        raise _malformed(f"{field}.model_version", f"not of the form {_MODEL_VERSION.pattern}")
    parts = _object(members["parts"], f"{field}.parts")
    if not 1 <= len(parts) <= PARTS_MAX:
        raise _malformed(f"{field}.parts", f"not 1 to {PARTS_MAX}")
    return Interface(
        version, {name: _part(name, each, f"{field}.parts") for name, each in sorted(parts.items())}
    )


def changes(old: Interface, new: Interface) -> list[Change]:
    """All differences, those that break first. The number of the data model's version is none.

    What is gone breaks, another type breaks, and so does a field that has to be given and was not,
    or may be missing and was always there; values that are gone or were never named break as well.
    """
    found = {*_parts(old, new)}
    return sorted(found, key=lambda each: (not each.is_breaking, each))


def changes_objects(found: Sequence[Change]) -> bool:
    """Whether anything that breaks is in the data objects."""
    return any(each.is_breaking and each.place.startswith(OBJECTS) for each in found)


def _parts(old: Interface, new: Interface) -> Iterator[Change]:
    for gone in old.parts.keys() - new.parts.keys():
        yield Change(gone, "removed", True)
    for more in new.parts.keys() - old.parts.keys():
        yield Change(more, "added", False)
    for name in old.parts.keys() & new.parts.keys():
        yield from _fields(name, old.parts[name], new.parts[name])


def _fields(part: str, old: Mapping[str, Field], new: Mapping[str, Field]) -> Iterator[Change]:
    for gone in old.keys() - new.keys():
        yield Change(f"{part}.{gone}", "removed", True)
    for more in new.keys() - old.keys():
        required = new[more].is_required
        yield Change(f"{part}.{more}", "required_added" if required else "added", required)
    for name in old.keys() & new.keys():
        yield from _field(f"{part}.{name}", old[name], new[name])


def _field(place: str, old: Field, new: Field) -> Iterator[Change]:
    if old.type != new.type:
        yield Change(f"{place}.type", "changed", True)
    if old.is_required is not new.is_required:
        yield Change(f"{place}.required", "changed", True)
    if bool(old.values) is not bool(new.values):
        yield Change(f"{place}.values", "changed", True)
        return
    for gone in set(old.values) - set(new.values):
        yield Change(f"{place}.values.{gone}", "removed", True)
    for more in set(new.values) - set(old.values):
        yield Change(f"{place}.values.{more}", "new_value", True)


def _part(name: str, value: Json, path: str) -> Mapping[str, Field]:
    if not _PART.fullmatch(name):
        raise _malformed(f"{path}.{name[:64]}", f"not of the form {_PART.pattern}")
    members = _object(value, f"{path}.{name}")
    require_members(members, f"{path}.{name}.", "fields")
    fields = _object(members["fields"], f"{path}.{name}.fields")
    if len(fields) > FIELDS_MAX:
        raise _malformed(f"{path}.{name}.fields", f"more than {FIELDS_MAX}")
    return {
        field: _one_field(field, each, f"{path}.{name}.fields")
        for field, each in sorted(fields.items())
    }


def _one_field(name: str, value: Json, path: str) -> Field:
    if len(name) > 256 or not _FIELD.fullmatch(name):
        raise _malformed(f"{path}.{name[:64]}", "not a path of names")
    here = f"{path}.{name}"
    members = _object(value, here)
    has_values = "values" in members
    require_members(members, f"{here}.", "type required values" if has_values else "type required")
    kind, required = members["type"], members["required"]
    if not isinstance(kind, str) or kind not in TYPES:
        raise _malformed(f"{here}.type", "not one of " + ", ".join(TYPES))
    if not isinstance(required, bool):
        raise _malformed(f"{here}.required", "neither true nor false")
    return Field(kind, required, _values(members["values"], here) if has_values else ())


def _values(value: Json, path: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
        raise _malformed(f"{path}.values", f"not a list of 1 to {VALUES_MAX}")
    found = tuple(each for each in value if isinstance(each, str))
    is_named = all(1 <= len(each) <= VALUE_LENGTH_MAX for each in found)
    if len(found) != len(value) or not is_named or list(found) != sorted(set(found)):
        raise _malformed(f"{path}.values", "not texts in order, each once")
    return found


def _object(value: Json, field: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _malformed(field, "not an object")
    return value


def _malformed(field: str, fault: str) -> Refusal:
    return Refusal("BODY_MALFORMED", field=field[:200], fault=fault)
