"""Another area for a document: at once where its tier is stricter, else by two approvals.

Requirements section 8 asks for two approvals of a downgrade. They are given by two legal entities
of the chain, by their governors, and neither is the entity whose document it is: nobody opens his
own secrets alone, however many signers he has. What was published before stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts import document_form as form
from services.consensus.domain.contracts import document_records as records
from services.consensus.domain.contracts.governance import entity_of, governor_of
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import require_members, text
from services.consensus.domain.contracts.template.vocabulary import Tier

APPROVALS_NEEDED: Final = 2
PROPOSAL_LIFE_MS: Final = 7 * 86_400_000


def reclassify(host: Host, body: Mapping[str, Json]) -> None:
    """Move what is published from now on to another area, or propose to. A proposal takes the place
    of an open one.
    """
    records.require_operator(host)
    require_members(body, "", "document area reason")
    document, area = form.document_id(body["document"]), form.area_id(body["area"])
    reason = form.reason(body["reason"])
    head = records.own_document(host, document)
    if head["area"] == area:
        raise Refusal("DOCUMENT_AREA_SAME", document=document, area=area)
    target = records.area_of(host, area)
    facts: dict[str, Any] = {
        "document": document,
        "from_area": head["area"],
        "from_tier": head["tier"],
        "area": area,
        "tier": target["tier"],
        "reason": reason,
    }
    if records.RANK[Tier(target["tier"])] > records.RANK[Tier(head["tier"])]:
        _take_effect(host, head, facts)
        return
    proposal = {
        **facts,
        "proposal": host.transaction_id(),
        "approvals": [],
        "expires_ms": host.block_time_ms() + PROPOSAL_LIFE_MS,
        **records.signed(host),
    }
    host.put(records.reclassification_key(document), proposal)
    host.emit("documents.reclassification_proposed", {**facts, "proposal": proposal["proposal"]})


def approve_reclassification(host: Host, body: Mapping[str, Json]) -> None:
    """Approve a proposal for the governor's entity; doing so twice changes nothing."""
    require_members(body, "", "document proposal")
    document, wanted = form.document_id(body["document"]), text(body["proposal"], "proposal")
    _, entity, _ = governor_of(host)
    found = records.find(host, records.reclassification_key(document))
    if found is None or found["proposal"] != wanted:
        raise Refusal("PROPOSAL_UNKNOWN", proposal=wanted)
    if found["expires_ms"] < host.block_time_ms():
        raise Refusal("PROPOSAL_EXPIRED", proposal=wanted, expired_ms=found["expires_ms"])
    head = records.find(host, records.document_key(document))
    assert head is not None, "it was the owner's document"
    if entity == entity_of(head["organisation"]):
        raise Refusal("DOCUMENT_APPROVER_IS_OWNER", document=document, entity=entity)
    if entity in found["approvals"]:
        return
    approved = {**found, "approvals": [*found["approvals"], entity]}
    host.put(records.reclassification_key(document), approved)
    told: dict[str, Json] = {"document": document, "proposal": wanted, "entity_id": entity}
    host.emit("documents.reclassification_approved", told)
    if len(approved["approvals"]) >= APPROVALS_NEEDED:
        names = ("document", "from_area", "from_tier", "area", "tier", "reason")
        facts = {name: approved[name] for name in names}
        _take_effect(host, head, {**facts, "approvals": approved["approvals"]})


def _take_effect(host: Host, head: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    changed = {**head, "area": facts["area"], "tier": facts["tier"]}
    host.put(records.document_key(head["document"]), changed)
    # One that was judged by where the document stood is void.
    host.delete(records.reclassification_key(head["document"]))
    host.emit("documents.reclassified", dict(facts))
