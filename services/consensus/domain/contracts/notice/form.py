"""What a notice is filed with, as a body brings it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.interface import Interface, read_interface
from services.consensus.domain.contracts.notice.standing import DOCUMENTS, Kind
from services.consensus.domain.contracts.packets_host import (
    CHAIN_LENGTH_MAX,
    hex_bytes,
    require_members,
    text,
)

DIGEST_BYTES: Final = 32
YEAR_FIRST, YEAR_LAST = 2000, 2199
OBJECTS_BOUND: Final = 1 << 53
FIGURES: Final = ("objects", "latest", "state")
"""What has to be equal before and after a migration (G2-14-2): how many data objects there are, the
digest of the list of their latest versions, and that of the state.
"""


@dataclass(frozen=True, slots=True)
class Filing:
    """A notice as it is filed: what is upgraded, from which interface to which, and when."""

    kind: Kind
    old: str
    interface: Interface
    documents: Mapping[str, str]
    planned: date


FILING: Final = "kind old interface documents planned"


def read_filing(body: Mapping[str, Json]) -> Filing:
    """The members `FILING` of a body; raises `Refusal`."""
    kind = body["kind"]
    if not isinstance(kind, str) or kind not in Kind.__members__:
        raise Refusal("BODY_MALFORMED", field="kind", fault="not one of " + ", ".join(Kind))
    return Filing(
        kind=Kind(kind),
        old=digest_of(body["old"], "old"),
        interface=read_interface(body["interface"]),
        documents=_documents(body["documents"], Kind(kind)),
        planned=day(body["planned"], "planned"),
    )


def day(value: Json, field: str) -> date:
    """A day as YYYY-MM-DD; raises `Refusal`."""
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.isoformat() != value or not YEAR_FIRST <= found.year <= YEAR_LAST:
        fault = f"not a day as YYYY-MM-DD, from {YEAR_FIRST} to {YEAR_LAST}"
        raise Refusal("BODY_MALFORMED", field=field, fault=fault)
    return found


def read_figures(value: Json, field: str) -> dict[str, Json]:
    """What one side of a migration holds; raises `Refusal`."""
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field=field, fault="not an object")
    require_members(value, f"{field}.", " ".join(FIGURES))
    count = value["objects"]
    if type(count) is not int or not 0 <= count < OBJECTS_BOUND:
        fault = "not an integer from 0 to 2^53 - 1"
        raise Refusal("BODY_MALFORMED", field=f"{field}.objects", fault=fault)
    for name in ("latest", "state"):
        digest_of(value[name], f"{field}.{name}")
    return value


def read_reference(value: Mapping[str, Json], field: str) -> tuple[str, int]:
    """Id and version of a data object; raises `Refusal`."""
    version = value["version"]
    if type(version) is not int or not 0 <= version < OBJECTS_BOUND:
        fault = "not an integer from 0 to 2^53 - 1"
        raise Refusal("BODY_MALFORMED", field=f"{field}.version", fault=fault)
    return text(value["object_id"], f"{field}.object_id", 128), version


def digest_of(value: Json, field: str) -> str:
    """A digest in hex; raises `Refusal`."""
    found = hex_bytes(value, field, DIGEST_BYTES)
    if len(found) != DIGEST_BYTES:
        raise Refusal("BODY_MALFORMED", field=field, fault=f"not {DIGEST_BYTES} bytes in hex")
    return found.hex()


def _documents(value: Json, kind: Kind) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field="documents", fault="not an object")
    for name in DOCUMENTS[kind]:
        if name not in value:
            raise Refusal("UPGRADE_DOCUMENT_MISSING", document=name, kind=kind.value)
    for name in sorted(value.keys() - set(DOCUMENTS[kind])):
        field = f"documents.{name[:CHAIN_LENGTH_MAX]}"
        raise Refusal("BODY_MALFORMED", field=field, fault="unknown")
    return {name: digest_of(each, f"documents.{name}") for name, each in sorted(value.items())}
