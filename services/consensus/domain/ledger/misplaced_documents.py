"""Keeps off the chain what a tier forbids on it, before the transaction that brings it is ordered.

A refused transaction stays in its block with all that it says. So a replica tells its submitter at
once what the contracts `documents` and `chains` would refuse for its place, in the newest of their
versions, whichever the chain is at; execution decides, as always.
"""

from __future__ import annotations

from collections.abc import Mapping

from guqiao_sdk.personal_data import NEWEST
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import Payload
from services.consensus.domain.contracts import document_form as form
from services.consensus.domain.contracts import document_records as records
from services.consensus.domain.contracts.chain_registry.form import check_clear
from services.consensus.domain.contracts.chain_registry.standing import CHAINS
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.template.vocabulary import Tier
from services.consensus.domain.ledger.host import read_json
from services.consensus.domain.ledger.keys import contract_key, request_key
from services.consensus.domain.ledger.state import Readable


def misplaced(state: Readable, payload: Payload) -> Refusal | None:
    """The refusal that this operation will meet for putting something where it may not be. What was
    executed once is answered again.
    """
    if payload.contract not in (records.NAME, CHAINS):
        return None
    if state.get(request_key(payload.organisation, payload.request_id)) is not None:
        return None
    try:
        if payload.contract == CHAINS:
            check_clear(payload.body, search=NEWEST)
            return None
        form.check_clear(payload.method, payload.body, search=NEWEST)
        if payload.method == form.PUBLISH:
            form.check_place(payload.body, _tier_of(state, payload.body))
    except Refusal as refusal:
        return refusal
    return None


def _tier_of(state: Readable, body: Mapping[str, Json]) -> Tier:
    area = form.area_of_publication(body)
    record = read_json(state, contract_key(records.NAME, records.area_key(area)))
    if record is None:
        raise Refusal("DOCUMENT_AREA_UNKNOWN", area=area)
    assert isinstance(record, dict), "the contract wrote it"
    return Tier(str(record["tier"]))
