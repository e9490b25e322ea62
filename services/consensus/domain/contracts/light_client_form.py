"""How the light client reads what relayers bring: headers, certificates, set changes, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import RESTART_BYTES_MAX, Restart
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets_host import (
    NUMBER_BOUND,
    hex_bytes,
    require_members,
    rows,
)

SET_CHANGES_MAX: Final = 8
"""Set changes in one transaction: every replica checks up to a hundred signatures for each."""

_HEADER_BYTES_MAX: Final = 512
_CERTIFICATE_BYTES_MAX: Final = 8_192
_SET_BYTES_MAX: Final = 131_072


def read_evidence(value: Json, field: str) -> tuple[BlockHeader, FinalityCertificate]:
    """A header and its certificate, as one half of evidence of misbehaviour."""
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field=field, fault="not an object")
    require_members(value, f"{field}.", "header certificate")
    return read_certified(value, f"{field}.")


def read_certified(body: Mapping[str, Json], path: str) -> tuple[BlockHeader, FinalityCertificate]:
    """The members `header` and `certificate` of an object that stands at `path`."""
    encoded = hex_bytes(body["header"], f"{path}header", _HEADER_BYTES_MAX)
    signed = hex_bytes(body["certificate"], f"{path}certificate", _CERTIFICATE_BYTES_MAX)
    try:
        header, certificate = BlockHeader.decode(encoded), FinalityCertificate.decode(signed)
    except MalformedError as error:
        raise Refusal(
            "BODY_MALFORMED", field=f"{path}header or certificate", fault=str(error)
        ) from error
    if max(header.epoch, header.height, header.block_time_ms) >= NUMBER_BOUND:
        raise Refusal(
            "BODY_MALFORMED", field=f"{path}header", fault="a number that JSON state cannot carry"
        )
    return header, certificate


def read_set_changes(value: Json, *, restarts: bool) -> tuple[SetChange, ...]:
    """The set changes of a body; with `restarts` one of them may be a restart."""
    changes: list[SetChange] = []
    wanted = "header certificate replica_set"
    if restarts and isinstance(value, list):
        value = [_restart_row(row) for row in value]
        wanted += " restart"
    for index, row in enumerate(rows(value, "set_changes", wanted, SET_CHANGES_MAX)):
        path = f"set_changes[{index}]."
        if row.get("restart"):
            changes.append(_restart(row["restart"], f"{path}restart"))
            continue
        header, certificate = read_certified(row, path)
        replica_set = read_set(row["replica_set"], f"{path}replica_set")
        changes.append(SetChange(header, certificate, replica_set))
    return tuple(changes)


def read_set(value: Json, field: str) -> ReplicaSet:
    """A replica set in its canonical encoding; its rules are not asked."""
    try:
        return ReplicaSet.decode(hex_bytes(value, field, _SET_BYTES_MAX))
    except MalformedError as error:
        raise Refusal("BODY_MALFORMED", field=field, fault=str(error)) from error


def _restart_row(row: Json) -> Json:
    """A row with a restart has no other member; the others have an empty one from here on."""
    if not isinstance(row, dict):
        return row
    if set(row) == {"restart"}:
        return {"header": "", "certificate": "", "replica_set": "", **row}
    return row if "restart" in row else {**row, "restart": ""}


def _restart(value: Json, field: str) -> SetChange:
    try:
        return SetChange.of_restart(Restart.decode(hex_bytes(value, field, RESTART_BYTES_MAX)))
    except MalformedError as error:
        raise Refusal("BODY_MALFORMED", field=field, fault=str(error)) from error
