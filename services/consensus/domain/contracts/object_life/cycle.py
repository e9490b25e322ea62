"""The life cycle of a data object (SM-11): which step is allowed in which state, and what follows.

| state | step | version | next |
|---|---|---|---|
| absent | create | 0 | current |
| current, version v | update, merged; null deletes | v + 1 | current |
| current, version v | overwrite, a whole body | v | current |
| current, version v | overwrite, a whole body | n < v | rewriting, version v, n + 1 is due |
| rewriting, n is due | overwrite, a whole body | v | current, where v is due |
| rewriting, n is due | overwrite, a whole body | m <= n, m < v | rewriting, m + 1 is due |
| current, version v | delete, an empty body | v + 1 | deleted |

Every other step is ILLEGAL_TRANSITION; nothing follows a deletion. Whoever rewrites a version
rewrites each later one. What was rewritten stays under `<id>/<version>/replaced/<revision>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.objects import (
    OBJECT_BYTES_MAX,
    body_of,
    latest_key,
    merge,
    version_key,
)
from services.consensus.domain.contracts.objects_form import ObjectHeader


class Status(StrEnum):
    """Where an object is in its life."""

    ABSENT = "ABSENT"
    CURRENT = "CURRENT"
    REWRITING = "REWRITING"
    """A version before the latest was rewritten, and a later one is not yet."""
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an object is. `version` is its latest and -1 while there is none; `due` is the highest
    version that may be rewritten: the latest, or the next one in turn.
    """

    status: Status
    version: int
    due: int

    def to_json(self) -> dict[str, Json]:
        """As `<id>/latest` keeps it."""
        told: dict[str, Json] = {"version": self.version, "status": self.status.value}
        return told | {"due": self.due} if self.status is Status.REWRITING else told


_NOWHERE = Standing(Status.ABSENT, -1, -1)


def standing_of(host: Host, object_id: str) -> Standing:
    """Where the object of that id is."""
    record = host.get(latest_key(object_id))
    if record is None:
        return _NOWHERE
    assert isinstance(record, dict), "the contract wrote it"
    version = record["version"]
    due = record.get("due", version)
    assert isinstance(version, int)
    assert isinstance(due, int)
    return Standing(Status(str(record["status"])), version, due)


def after(standing: Standing, header: ObjectHeader) -> Standing:
    """Where the object is after the step of a header, or ILLEGAL_TRANSITION."""
    found = _after(standing, header.operation, header.version)
    if found is None:
        raise Refusal(
            "ILLEGAL_TRANSITION",
            object_id=header.object_id,
            state=standing.status.value,
            version=None if standing.status is Status.ABSENT else standing.version,
            event=f"{header.operation} version {header.version}",
        )
    return found


def _after(standing: Standing, operation: str, version: int) -> Standing | None:
    match standing.status, operation:
        case Status.ABSENT, "create" if version == 0:
            return Standing(Status.CURRENT, 0, 0)
        case Status.CURRENT, "update" if version == standing.version + 1:
            return Standing(Status.CURRENT, version, version)
        case Status.CURRENT, "delete" if version == standing.version + 1:
            return Standing(Status.DELETED, version, version)
        case ((Status.CURRENT | Status.REWRITING), "overwrite") if version <= standing.due:
            return _rewritten(standing.version, version)
    return None


def _rewritten(latest: int, version: int) -> Standing:
    if version == latest:
        return Standing(Status.CURRENT, latest, latest)
    return Standing(Status.REWRITING, latest, version + 1)


def snapshot_of(
    host: Host, header: ObjectHeader, body: Mapping[str, Json], before: Standing
) -> dict[str, Json]:
    """The whole body that a version stands for: what it brings, an update merged with the one
    before. Refuses one that is empty or too large to keep; a deletion has none.
    """
    if header.operation != "update":
        return dict(body)
    merged = merge(body_of(host, header.object_id, before.version), body)
    if not merged:
        raise Refusal("SCHEMA_FAILED", field="body", fault="the update leaves nothing")
    if len(canonical_json(merged)) > OBJECT_BYTES_MAX:
        fault = f"merged, more than {OBJECT_BYTES_MAX} bytes"
        raise Refusal("SCHEMA_FAILED", field="body", fault=fault)
    return merged


def put_aside(host: Host, header: ObjectHeader) -> int:
    """Keep the version that a step rewrites beside the one to come; return how often it was
    rewritten, this time included.
    """
    key = version_key(header.object_id, header.version)
    record = host.get(key)
    if record is None:
        return 0
    assert isinstance(record, dict), "the contract wrote it"
    revision = record.get("revision", 0)
    assert isinstance(revision, int)
    host.put(replaced_key(header.object_id, header.version, revision), record)
    return revision + 1


def replaced_key(object_id: str, version: int, revision: int) -> str:
    """Where a version is kept that was rewritten; revisions count from 0."""
    return f"{version_key(object_id, version)}/replaced/{revision:020d}"
