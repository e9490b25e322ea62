"""Reading a document: judged by the chain, and recorded there before anything is released.

A denial is no refusal: a refused transaction drops what it wrote, and with it the record. So every
well-formed attempt is applied and leaves one record with its result (requirements section 9), bound
to the record before; whoever releases a body waits for an `allow` of his own transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts import document_form as form
from services.consensus.domain.contracts import document_records as records
from services.consensus.domain.contracts.document_areas import grant_in_force
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.packets_host import natural, require_members, this_chain
from services.consensus.domain.contracts.template.vocabulary import Tier

TOPIC: Final = "documents.read"
FIRST_BEFORE: Final = "00" * 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an access is allowed, why not, and by which grant."""

    code: str
    grant: int | None = None

    @property
    def result(self) -> str:
        """As the record names it."""
        return "deny" if self.code else "allow"


def access(host: Host, body: Mapping[str, Json]) -> None:
    """Ask to read a version for a purpose: records who, why and whether it is allowed."""
    require_members(body, "", "document version purpose")
    document, version = form.document_id(body["document"]), natural(body["version"], "version")
    purpose = form.purpose_code(body["purpose"])
    found = records.find(host, records.version_key(document, version))
    verdict = Verdict("DOCUMENT_UNKNOWN") if found is None else _verdict_on(host, found, purpose)
    _record(host, document, version, purpose, found, verdict)


def _verdict_on(host: Host, version: Mapping[str, Any], purpose: str) -> Verdict:
    reader, tier = host.sender().did, Tier(version["tier"])
    if tier is Tier.PUBLIC:
        return Verdict("")
    if version["erased"] is not None:
        return Verdict("DOCUMENT_ERASED")
    if tier is Tier.RESTRICTED:
        # Whoever has an envelope keeps it; the grant of that time is what entitles him.
        number = version["readers"].get(reader)
        granted = None
        if number is not None:
            granted = records.find(host, records.grant_key(version["area"], number))
    else:
        granted = grant_in_force(host, version["area"], reader)
    if granted is None:
        return Verdict("READ_CONDITION_UNMET")
    if granted["purpose"] != purpose:
        return Verdict("DOCUMENT_PURPOSE_OTHER", granted["number"])
    return Verdict("", granted["number"])


def _record(
    host: Host,
    document: str,
    version: int,
    purpose: str,
    found: Mapping[str, Any] | None,
    verdict: Verdict,
) -> None:
    head = records.find(host, records.AUDIT_HEAD_KEY) or {"count": 0, "digest": FIRST_BEFORE}
    sender, number = host.sender(), head["count"] + 1
    record: dict[str, Json] = {
        "number": number,
        "chain": this_chain(host),
        "time_ms": host.block_time_ms(),
        "height": host.height(),
        "transaction_id": host.transaction_id(),
        "action": "read",
        "actor": sender.did,
        "key_id": sender.key_id,
        "organisation": sender.organisation,
        "roles": [*sorted(sender.roles)],
        "document": document,
        "version": version,
        "tier": None if found is None else found["tier"],
        "object_digest": None if found is None else found["digest"],
        "purpose": purpose,
        "grant": verdict.grant,
        "result": verdict.result,
        "code": verdict.code,
        "before": head["digest"],
    }
    own = record_digest(record)
    host.put(records.audit_key(number), record)
    traced = host.get(records.traced_key(document))
    count = traced + 1 if type(traced) is int else 1
    host.put(records.traced_key(document), count)
    host.put(records.trace_key(document, count), number)
    host.put(records.AUDIT_HEAD_KEY, {"count": number, "digest": own})
    host.emit(TOPIC, {**record, "digest": own})


def record_digest(record: Mapping[str, Json]) -> str:
    """What the next record is bound to, in hex."""
    return digest("guqiao/document-access/1", canonical_json(dict(record))).hex()
