"""What a tier forbids on chain is told before it is ordered: a block keeps refused ones as well."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.transaction import Payload
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.documents import DocumentsContract
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.ledger.admission import Refused, read_transaction
from services.consensus.domain.ledger.authorisation import check_stateful
from tests.unit.contracts.document_market import ANNE, DESCRIPTION, sealed_for
from tests.unit.ledger.chain_builder import (
    MARKET,
    MemoryChain,
    genesis_json,
    genesis_of,
    identity_json,
    payload_of,
    signed,
)

MAKER, CHECKER, ADMINISTRATOR = (
    f"did:rem:testing:{name}" for name in ("maker", "checker", "administrator")
)
CONTENT = {"content": "内部检查记录"}
PHONE = "电话 13800138000"

pytestmark = pytest.mark.req("G2-17-7")


def chain(version: int = 1) -> MemoryChain:
    value = genesis_json()
    value["contracts"] = [
        {"name": "identity", "version": 1, "from_height": 0},
        {"name": "documents", "version": version, "from_height": 0},
    ]
    value["identities"] = [
        identity_json(MAKER, "operator_maker"),
        identity_json(CHECKER, "operator_checker"),
        identity_json(ADMINISTRATOR, "market_admin"),
    ]
    built = MemoryChain(
        genesis_of(value), Catalogue([IdentityContract(), DocumentsContract(version)])
    )
    for area, tier in (("notices", "PUBLIC"), ("offers", "RESTRICTED"), ("files", "NONPUBLIC")):
        body = {"area": area, "tier": tier, "title": area}
        assert built.receipt(operation("define_area", body, maker=ADMINISTRATOR)).code == ""
    return built


def operation(method: str, body: dict[str, Any], maker: str = MAKER, **changes: Any) -> Payload:
    return payload_of(
        method, body, maker=(maker, "k1"), checker=(CHECKER, "k1"), organisation=MARKET,
        contract="documents", **changes,
    )  # fmt: skip


def publication(area: str, **payload: Any) -> dict[str, Any]:
    named = {"document": "report", "version": 1, "type": "note", "title": "材料", "area": area}
    return {**named, **payload}


def told(built: MemoryChain, payload: Payload) -> Refused | None:
    """What a replica says at submission."""
    transaction = read_transaction(signed(payload).encode())
    time_ms = built.header.block_time_ms
    return check_stateful(built.state, transaction, block_time_ms=time_ms)


FORBIDDEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "a body in the clear": ("publish", publication("files", **CONTENT), "TIER_NONPUBLIC_ONCHAIN"),
    "a body beside its description": (
        "publish", publication("files", **DESCRIPTION, **CONTENT), "TIER_NONPUBLIC_ONCHAIN",
    ),
    "a body as ciphertext": (
        "publish", publication("files", sealed={}), "TIER_NONPUBLIC_ONCHAIN",
    ),
    "a sealed document in the clear": (
        "publish", publication("offers", **CONTENT), "TIER_RESTRICTED_IN_CLEAR",
    ),
    "what has no tier yet": ("publish", publication("other", **CONTENT), "DOCUMENT_AREA_UNKNOWN"),
    "a telephone in a public one": (
        "publish", publication("notices", content=PHONE), "TIER_NONPUBLIC_ONCHAIN",
    ),
    "a telephone in a member that is not known": (
        "publish", publication("notices", content="x", more=PHONE), "TIER_NONPUBLIC_ONCHAIN",
    ),
    "a telephone in a reason": (
        "revoke", {"area": "offers", "reader": MAKER, "reason": PHONE}, "TIER_NONPUBLIC_ONCHAIN",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "body", "code"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_it_is_refused_at_submission_as_execution_would(
    method: str, body: dict[str, Any], code: str
) -> None:
    built = chain()
    payload = operation(method, body)
    refused = told(built, payload)
    assert refused is not None
    assert refused.code == code
    assert "13800138000" not in str(refused.fields)
    if method == "publish" and "more" not in body:
        assert built.receipt(payload).code == code


def test_what_is_in_its_place_is_ordered() -> None:
    built = chain()
    for body in (
        publication("notices", **CONTENT),
        publication("files", **DESCRIPTION),
        publication("offers", sealed=sealed_for(ANNE).to_json()),
    ):
        assert told(built, operation("publish", body)) is None
    reading = {"document": "report", "version": 1, "purpose": "review"}
    assert told(built, operation("read", reading)) is None


def test_what_was_answered_once_is_answered_again() -> None:
    built = chain()
    payload = operation("publish", publication("files", **CONTENT))
    assert built.receipt(payload).code == "TIER_NONPUBLIC_ONCHAIN"
    again = operation(
        "publish", dict(payload.body), request_id=payload.request_id, expires_height=99
    )
    assert told(built, again) is None


def test_other_contracts_are_none_of_its_matter() -> None:
    built = chain()
    assert told(built, operation("publish", publication("files", **CONTENT))) is not None
    other = payload_of("publish", publication("files", **CONTENT), maker=(MAKER, "k1"))
    assert told(built, other) is None


@pytest.mark.parametrize(("version", "code"), [(1, ""), (2, "TIER_NONPUBLIC_ONCHAIN")])
def test_a_telephone_in_other_digits_is_refused_from_version_2_on(version: int, code: str) -> None:
    """Version 1 executes as it did; at submission the newest is asked."""
    built = chain(version)
    payload = operation("publish", publication("notices", content="电话 138.0013.８０００"))
    refused = told(built, payload)
    assert refused is not None
    assert refused.code == "TIER_NONPUBLIC_ONCHAIN"
    assert built.receipt(payload).code == code
