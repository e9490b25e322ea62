"""The contract `documents`: what is published in which tier, and who read what is not public.

A version is kept for ever as it was published: in the clear, sealed to the readers of that moment,
or as a description whose body lies off the chain and can be erased (G2-17-4 to G2-17-9, G2-19-2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts import document_form as form
from services.consensus.domain.contracts import document_records as records
from services.consensus.domain.contracts.document_access import access
from services.consensus.domain.contracts.document_areas import (
    define_area,
    grant,
    require_exact_readers,
    revoke,
)
from services.consensus.domain.contracts.document_form import Publication
from services.consensus.domain.contracts.document_reclassification import (
    approve_reclassification,
    reclassify,
)
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.packets_host import natural, require_members
from services.consensus.domain.contracts.template.vocabulary import Tier


@dataclass(frozen=True, slots=True)
class DocumentsContract:
    """`documents`. Version 2 finds numbers of persons in whatever digits."""

    version: int = 1
    name: str = records.NAME

    def methods(self) -> Mapping[str, Method]:
        """For the market's administrator, for operators, for governors, and for every reader."""
        methods: dict[str, Method] = {
            "define_area": define_area,
            "grant": grant,
            "revoke": revoke,
            form.PUBLISH: publish,
            "reclassify": reclassify,
            "approve_reclassification": approve_reclassification,
            "note_erasure": note_erasure,
            "read": access,
        }
        search = Search.GROUPS if self.version == 1 else Search.ANY_WRITING
        return {
            name: partial(_called, name, method, search=search) for name, method in methods.items()
        }


def _called(
    name: str, method: Method, host: Host, body: Mapping[str, Json], *, search: Search
) -> None:
    """Nothing is done with a body that may not stand on chain."""
    form.check_clear(name, body, search=search)
    method(host, body)


def publish(host: Host, body: Mapping[str, Json]) -> None:
    """Publish the next version of a document in the form of its area's tier."""
    records.require_operator(host)
    area = records.area_of(host, form.area_of_publication(body))
    found = form.read_publication(body, Tier(area["tier"]))
    head = _head(host, found, area)
    readers: dict[str, int] = {}
    if found.sealed is not None:
        readers = require_exact_readers(host, found.area, found.sealed)
    payload, own_digest = _payload(found)
    facts: dict[str, Any] = {
        "document": found.document,
        "version": found.version,
        "area": found.area,
        "tier": area["tier"],
        "type": found.type,
        "title": found.title,
        "digest": own_digest,
    }
    record = {**facts, **payload, "readers": readers, "erased": None, **records.signed(host)}
    host.put(records.version_key(found.document, found.version), record)
    host.put(records.document_key(found.document), {**head, "latest": found.version})
    host.emit("documents.published", {**facts, "readers": [*sorted(readers)]})


def note_erasure(host: Host, body: Mapping[str, Json]) -> None:
    """Put down that the body of a NONPUBLIC version is no more. Its description and digest stay, so
    that whatever was proven of it still verifies.
    """
    records.require_operator(host)
    require_members(body, "", "document version reason")
    document, version = form.document_id(body["document"]), natural(body["version"], "version")
    reason = form.reason(body["reason"])
    records.own_document(host, document)
    found = records.find(host, records.version_key(document, version))
    if found is None:
        raise Refusal("DOCUMENT_UNKNOWN", document=document, version=version)
    if found["tier"] != Tier.NONPUBLIC:
        raise Refusal("DOCUMENT_NOT_ERASABLE", document=document, version=version)
    if found["erased"] is not None:
        raise Refusal("DOCUMENT_ERASED", document=document, version=version)
    erased = {"reason": reason, **records.signed(host)}
    host.put(records.version_key(document, version), {**found, "erased": erased})
    facts: dict[str, Json] = {"document": document, "version": version, "reason": reason}
    host.emit("documents.erased", {**facts, "digest": found["digest"]})


def _head(host: Host, found: Publication, area: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the document, if this is its next version in its own area."""
    if host.get(records.document_key(found.document)) is None:
        head: dict[str, Any] = {
            "document": found.document,
            "organisation": host.sender().organisation,
            "area": found.area,
            "tier": area["tier"],
            "latest": 0,
        }
    else:
        head = records.own_document(host, found.document)
    if head["area"] != found.area:
        raise Refusal("DOCUMENT_AREA_OTHER", document=found.document, area=head["area"])
    expected = head["latest"] + 1
    if found.version != expected:
        raise Refusal("DOCUMENT_VERSION_WRONG", document=found.document, expected=expected)
    return head


def _payload(found: Publication) -> tuple[dict[str, Any], str]:
    """What is kept of the publication beside its facts, and the digest that stands for it: of a
    NONPUBLIC body the salted one that its description brings.
    """
    if found.description is not None:
        described = dict(found.description)
        return {name: described[name] for name in ("size", "owner", "reference")}, str(
            described["digest"]
        )
    if found.sealed is not None:
        value: Json = found.sealed.to_json()
        return {"sealed": value}, _digest_of("sealed", value)
    return {"content": found.content}, _digest_of("content", found.content)


def _digest_of(kind: str, value: Json) -> str:
    return digest("guqiao/document/1", kind.encode(), canonical_json(value)).hex()
