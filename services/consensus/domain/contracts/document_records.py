"""Where each record of the contract `documents` lives, and who acts upon it: shared by its parts.

area/<area>                  tier, title, how many grants were ever given
grant/<area>/<number>        every grant, with its revocation where there is one
reader/<area>/<did>          the number of the grant that a reader has in force
document/<document>          whose it is, in which area, how many versions
version/<document>/<number>  what was published: content, sealed form or description
reclassification/<document>  a downgrade that waits for its approvals
audit/<number>, audit_head   one record an access, each bound to the one before
trace/<document>/<number>    which of them are of a document
"""

from __future__ import annotations

from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts import signers
from services.consensus.domain.contracts.host import Host, Party, Refusal
from services.consensus.domain.contracts.packets_host import require_role
from services.consensus.domain.contracts.template.vocabulary import Tier

NAME: Final = "documents"
AUDIT_HEAD_KEY: Final = "audit_head"

RANK: Final = {Tier.PUBLIC: 0, Tier.RESTRICTED: 1, Tier.NONPUBLIC: 2}
"""How strict a tier is."""


def area_key(area: str) -> str:
    """The key of an area."""
    return f"area/{area}"


def grant_key(area: str, number: int) -> str:
    """The key of a grant."""
    return f"grant/{area}/{number:020d}"


def reader_key(area: str, did: str) -> str:
    """Where the number of a reader's grant stands while it is in force."""
    return f"reader/{area}/{did}"


def document_key(document: str) -> str:
    """The key of a document."""
    return f"document/{document}"


def version_key(document: str, version: int) -> str:
    """The key of a version."""
    return f"version/{document}/{version:020d}"


def reclassification_key(document: str) -> str:
    """The key of the open reclassification of a document."""
    return f"reclassification/{document}"


def audit_key(number: int) -> str:
    """The key of an audit record."""
    return f"audit/{number:020d}"


def traced_key(document: str) -> str:
    """Where it stands how many accesses to a document there were."""
    return f"traced/{document}"


def trace_key(document: str, number: int) -> str:
    """Where the number of a document's audit record stands; they are counted from 1."""
    return f"trace/{document}/{number:020d}"


def find(host: Host, key: str) -> dict[str, Any] | None:
    """A record that this contract wrote, or None."""
    value = host.get(key)
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


def area_of(host: Host, area: str) -> dict[str, Any]:
    """An area, or `DOCUMENT_AREA_UNKNOWN`."""
    found = find(host, area_key(area))
    if found is None:
        raise Refusal("DOCUMENT_AREA_UNKNOWN", area=area)
    return found


def own_document(host: Host, document: str) -> dict[str, Any]:
    """A document of the sender's organisation, or a refusal."""
    found = find(host, document_key(document))
    if found is None:
        raise Refusal("DOCUMENT_UNKNOWN", document=document)
    if found["organisation"] != host.sender().organisation:
        raise Refusal("DOCUMENT_OWNER_OTHER", document=document, owner=found["organisation"])
    return found


def require_operator(host: Host) -> Party:
    """The checker of an operator's act, or a refusal."""
    require_role(host, roles.OPERATOR_MAKER)
    return require_checker(host)


def require_checker(host: Host) -> Party:
    """The second signer: another checker of the same organisation, or a refusal."""
    return signers.require_checker(host, roles.OPERATOR_CHECKER)


def signed(host: Host) -> dict[str, Json]:
    """Who did it, and when: for every record."""
    checker = host.checker()
    return {
        "maker": host.sender().did,
        "checker": None if checker is None else checker.did,
        "height": host.height(),
        "time_ms": host.block_time_ms(),
        "transaction_id": host.transaction_id(),
    }
