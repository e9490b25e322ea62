"""The service market's register on the regulatory chain: who offers what, where, and to whom.

A service is listed with its name, description, interface, permission and endpoint, each of them
required (article 22 of guideline No. 2), by a publisher who signs for it. Names are unique.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.packets_host import require_role

NAME: Final = "services"
SERVICE_PUBLISHER: Final = "service_publisher"

DESCRIPTION_LENGTH_MIN: Final = 20
DESCRIPTION_LENGTH_MAX: Final = 4_096
PERMISSIONS_MAX: Final = 64
ENDPOINT_LENGTH_MAX: Final = 512
INTERFACE_BYTES_MAX: Final = 262_144

RESERVED: Final = "parameters"
"""Genesis keeps the contract's parameters under this name, so no service may take it."""

_FIELDS: Final = ("name", "description", "interface", "permission", "endpoint")
_NAME = re.compile(r"[a-z][a-z0-9_-]{2,63}")
_PERMISSION = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")
_ENDPOINT = re.compile(r"(?:grpcs?|https?)://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[!-~]*)?")


@dataclass(frozen=True, slots=True)
class ServicesContract:
    """`services` v1."""

    name: str = NAME
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        """`register_service`, for service publishers."""
        return {"register_service": register_service}


def register_service(host: Host, body: Mapping[str, Json]) -> None:
    """List a service under its unique name."""
    require_role(host, SERVICE_PUBLISHER)
    _require_fields(body)
    name = _checked_name(body["name"])
    _check_description(body["description"])
    _check_interface(body["interface"])
    _check_permission(body["permission"])
    _check_endpoint(body["endpoint"])
    taken = host.get(name)
    if taken is not None:
        assert isinstance(taken, dict)
        raise Refusal("SERVICE_NAME_TAKEN", name=name, publisher=taken["publisher"])
    publisher = host.sender()
    descriptor = digest("guqiao/service-descriptor/1", canonical_json(dict(body))).hex()
    facts: dict[str, Json] = {
        "name": name,
        "publisher": publisher.did,
        "organisation": publisher.organisation,
        "descriptor_digest": descriptor,
        "registered_height": host.height(),
        "transaction_id": host.transaction_id(),
    }
    host.put(name, {**body, **facts})
    host.emit("service.registered", facts)


def _require_fields(body: Mapping[str, Json]) -> None:
    for field in _FIELDS:
        if body.get(field) in (None, "", [], {}):
            raise Refusal("DESCRIPTOR_FIELD_MISSING", field=field)
    for field in sorted(body):
        if field not in _FIELDS:
            raise Refusal("BODY_MALFORMED", field=field[:64], fault="unknown")


def _checked_name(value: Json) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _invalid("name", f"not of the form {_NAME.pattern}")
    if value == RESERVED:
        raise _invalid("name", "it is reserved")
    return value


def _check_description(value: Json) -> None:
    if not isinstance(value, str) or not (
        DESCRIPTION_LENGTH_MIN <= len(value.strip()) <= DESCRIPTION_LENGTH_MAX
    ):
        raise _invalid(
            "description",
            f"not a text of {DESCRIPTION_LENGTH_MIN} to {DESCRIPTION_LENGTH_MAX} characters",
        )


def _check_interface(value: Json) -> None:
    if not isinstance(value, dict) or len(canonical_json(value)) > INTERFACE_BYTES_MAX:
        raise _invalid("interface", f"not an object of at most {INTERFACE_BYTES_MAX} bytes")


def _check_permission(value: Json) -> None:
    if not isinstance(value, list) or len(value) > PERMISSIONS_MAX:
        raise _invalid("permission", f"not an array of at most {PERMISSIONS_MAX} permissions")
    for permission in value:
        if not isinstance(permission, str) or not _PERMISSION.fullmatch(permission):
            raise _invalid("permission", f"one is not of the form {_PERMISSION.pattern}")
    if len(set(map(str, value))) != len(value):
        raise _invalid("permission", "one is listed twice")


def _check_endpoint(value: Json) -> None:
    if (
        not isinstance(value, str)
        or len(value) > ENDPOINT_LENGTH_MAX
        or not _ENDPOINT.fullmatch(value)
    ):
        raise _invalid("endpoint", "not a grpc or http URI")


def _invalid(field: str, rule: str) -> Refusal:
    return Refusal("DESCRIPTOR_FIELD_INVALID", field=field, rule=rule)
