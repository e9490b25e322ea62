"""Areas of documents and their readers: an area has one tier, a grant one reader and one purpose.

Grants are kept for ever, revocations beside them. Whoever is granted nothing may read nothing; a
grant with a condition is in force only where that holds at the moment (G2-17-3, G2-17-6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk import register_keys, roles
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.sealed_form import READERS_MAX, Sealed
from services.consensus.domain.contracts import document_form as form
from services.consensus.domain.contracts import document_records as records
from services.consensus.domain.contracts.calendar import block_day
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    identity_from_state,
    identity_key,
)
from services.consensus.domain.contracts.packets_host import (
    require_members,
    require_role,
    system_host,
)
from services.consensus.domain.contracts.register.program import is_qualified
from services.consensus.domain.contracts.register.records import EMPTY_HOLDING
from services.consensus.domain.contracts.template.vocabulary import Tier

NAMED_MAX: Final = 16
"""Readers that a refusal names; a receipt has room for so many."""
_REGISTER: Final = "register"
_IDENTITY: Final = "identity"


def define_area(host: Host, body: Mapping[str, Json]) -> None:
    """Begin an area: its tier is for ever."""
    _require_administrator(host)
    require_members(body, "", "area tier title")
    area, tier, title = (
        form.area_id(body["area"]),
        form.tier(body["tier"]),
        form.title(body["title"]),
    )
    if host.get(records.area_key(area)) is not None:
        raise Refusal("DOCUMENT_AREA_EXISTS", area=area)
    organisation = host.sender().organisation
    facts: dict[str, Json] = {"area": area, "tier": tier.value, "title": title}
    record = {**facts, "organisation": organisation, "grants": 0, **records.signed(host)}
    host.put(records.area_key(area), record)
    host.emit("documents.area_defined", facts)


def grant(host: Host, body: Mapping[str, Json]) -> None:
    """Let a reader read in an area, for a purpose, perhaps under a condition. It holds for what is
    published from then on where an area is RESTRICTED, and for all of it where it is NONPUBLIC.
    """
    _require_administrator(host)
    require_members(body, "", "area reader purpose condition")
    area = form.area_id(body["area"])
    reader, purpose = form.did(body["reader"], "reader"), form.purpose_code(body["purpose"])
    condition = form.condition(body["condition"])
    record = records.area_of(host, area)
    if record["tier"] == Tier.PUBLIC:
        raise Refusal("DOCUMENT_AREA_PUBLIC", area=area)
    _require_active(host, reader)
    if host.get(records.reader_key(area, reader)) is not None:
        raise Refusal("DOCUMENT_GRANT_EXISTS", area=area, reader=reader)
    if len(host.scan(f"reader/{area}/", READERS_MAX)) >= READERS_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="area_readers", maximum=READERS_MAX)
    number = record["grants"] + 1
    facts: dict[str, Json] = {
        "area": area,
        "number": number,
        "reader": reader,
        "purpose": purpose,
        "condition": condition,
    }
    host.put(records.area_key(area), {**record, "grants": number})
    host.put(records.grant_key(area, number), {**facts, "revoked": None, **records.signed(host)})
    host.put(records.reader_key(area, reader), number)
    host.emit("documents.granted", facts)


def revoke(host: Host, body: Mapping[str, Json]) -> None:
    """End a reader's grant: he gets no envelope any more, and reads no body off the chain."""
    _require_administrator(host)
    require_members(body, "", "area reader reason")
    area, reader = form.area_id(body["area"]), form.did(body["reader"], "reader")
    reason = form.reason(body["reason"])
    records.area_of(host, area)
    number = host.get(records.reader_key(area, reader))
    if type(number) is not int:
        raise Refusal("DOCUMENT_GRANT_UNKNOWN", area=area, reader=reader)
    record = records.find(host, records.grant_key(area, number))
    assert record is not None, "a reader's grant is kept"
    revoked = {"reason": reason, **records.signed(host)}
    host.put(records.grant_key(area, number), {**record, "revoked": revoked})
    host.delete(records.reader_key(area, reader))
    facts: dict[str, Json] = {"area": area, "number": number, "reader": reader, "reason": reason}
    host.emit("documents.revoked", facts)


def grant_in_force(host: Host, area: str, reader: str) -> dict[str, Any] | None:
    """The grant that a reader has now, whose condition holds; else None."""
    number = host.get(records.reader_key(area, reader))
    if type(number) is not int:
        return None
    record = records.find(host, records.grant_key(area, number))
    assert record is not None, "a reader's grant is kept"
    identity = _identity(host, reader)
    if identity is None or not identity.active:
        return None
    return record if _holds(host, record["condition"], identity) else None


def readers_in_force(host: Host, area: str) -> dict[str, int]:
    """Everybody who may read in an area now, by DID with the number of the grant."""
    found: dict[str, int] = {}
    prefix = f"reader/{area}/"
    for key, _ in host.scan(prefix, READERS_MAX):
        did = key.removeprefix(prefix)
        record = grant_in_force(host, area, did)
        if record is not None:
            found[did] = record["number"]
    return found


def require_exact_readers(host: Host, area: str, sealed: Sealed) -> dict[str, int]:
    """Refuse envelopes for anybody else than the readers in force, each under a key of theirs."""
    wanted = readers_in_force(host, area)
    missing = sorted(wanted.keys() - set(sealed.readers))
    surplus = sorted(set(sealed.readers) - wanted.keys())
    if missing or surplus:
        named: dict[str, Json] = {
            "missing": [*missing[:NAMED_MAX]],
            "missing_count": len(missing),
            "surplus": [*surplus[:NAMED_MAX]],
            "surplus_count": len(surplus),
        }
        raise Refusal("DOCUMENT_READERS_OTHER", area=area, **named)
    for envelope in sealed.envelopes:
        if not _has_key(host, envelope.reader, envelope.public_key):
            raise Refusal("DOCUMENT_KEY_NOT_OF_READER", reader=envelope.reader)
    return wanted


def _has_key(host: Host, did: str, public_key: bytes) -> bool:
    identity, now_ms = _identity(host, did), host.block_time_ms()
    assert identity is not None, "a reader in force has an identity"
    return any(
        key.public_key == public_key
        and not key.revoked
        and key.not_before_ms <= now_ms <= key.not_after_ms
        for key in identity.keys.values()
    )


def _holds(host: Host, condition: Mapping[str, Any] | None, identity: IdentityRecord) -> bool:
    """Whether the condition of a grant holds now, by what the chain itself knows."""
    if condition is None:
        return True
    if condition["kind"] == "role":
        return condition["role"] in identity.roles
    holding = _holding(host, condition["product"], condition["account"])
    if condition["kind"] == "holder":
        return bool(holding["positions"])
    stored = system_host(host).read(_REGISTER, register_keys.key("account", condition["account"]))
    day = block_day(host).isoformat()
    return stored is not None and is_qualified(host, stored, holding, day)


def _holding(host: Host, product: str, account: str) -> dict[str, Json]:
    key = register_keys.key("holding", product, account)
    stored = system_host(host).read(_REGISTER, key)
    return stored if isinstance(stored, dict) else dict(EMPTY_HOLDING)


def _identity(host: Host, did: str) -> IdentityRecord | None:
    stored = system_host(host).read(_IDENTITY, identity_key(did))
    return None if stored is None else identity_from_state(stored)


def _require_active(host: Host, did: str) -> None:
    identity = _identity(host, did)
    if identity is None:
        raise Refusal("IDENTITY_UNKNOWN", did=did)
    if not identity.active:
        raise Refusal("IDENTITY_DEACTIVATED", did=did)


def _require_administrator(host: Host) -> None:
    require_role(host, roles.MARKET_ADMIN)
    records.require_checker(host)
