"""What has to hold at a switch: a migration lost no data, and what arrives after it is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import system_host

RECEIVED: Final = "received/{chain}/data_object"
"""Where `packets` counts what arrived of a chain."""


def received_of(host: Host, chain: str) -> Json:
    """How many packets with data objects arrived of a chain."""
    return system_host(host).read("packets", RECEIVED.format(chain=chain)) or 0


def require_continuity(host: Host, record: Mapping[str, Any]) -> None:
    """Refuse a switch whose data was not compared, or where more arrived since."""
    found, chain = record["continuity"], record["chain"]
    if found is None:
        raise Refusal("UPGRADE_DATA_UNCOMPARED", chain=chain)
    received = received_of(host, chain)
    if found["received"] != received:
        raise Refusal(
            "UPGRADE_DATA_DIFFERS", figure="received", before=found["received"], after=received
        )


def require_new_object(host: Host, record: Mapping[str, Any], key: str, version: str) -> None:
    """Refuse an object that did not arrive from the chain since the cut-over, in this format."""
    found = system_host(host).read(objects.NAME, key)
    is_new = (
        isinstance(found, dict)
        and found.get("source") == record["chain"]
        and _int(found["received_height"]) > record["cutover_height"]
        and _model_version(found["object"]) == version
    )
    if not is_new:
        raise Refusal("UPGRADE_OBJECT_NOT_NEW", object=key, version=version)


def _int(value: Json) -> int:
    assert isinstance(value, int), "the contract wrote it"
    return value


def _model_version(value: Json) -> Json:
    match value:
        case {"header": {"model": {"version": version}}}:
            return version
    raise AssertionError("an object that was recorded has a header")
