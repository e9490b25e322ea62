"""What a body of `observed` holds: a checkpoint, and headers as a node of that chain writes them.

Headers have one spelling: the members that the verifier reads and no other. So nothing is kept on
chain that no hash covers, and two relayers that bring the same header bring the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import checkpoint_of
from guqiao_sdk.proof.fisco.fields import MALFORMED
from guqiao_sdk.proof.fisco.header import CertifiedHeader, header_value, parse_header
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.observed_state import HEADERS_MAX, SIGNATURES_MAX
from services.consensus.domain.contracts.chain_registry.form import chain_id_of
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets_host import NUMBER_BOUND, require_members

OTHER: Final = "OBSERVED_CHECKPOINT_OTHER"


def read_chain(body: Mapping[str, Json], own: str) -> str:
    """The id that a market's chain has on this one, `own` (G2-10-1); raises `Refusal`."""
    chain = chain_id_of(body["chain"])
    if chain == own:
        raise Refusal("BODY_MALFORMED", field="chain", fault="not the id of another chain")
    return chain


def read_checkpoint(body: Mapping[str, Json], own: str) -> tuple[str, TrustedFisco]:
    """Chain and checkpoint of a body that holds these two and nothing else; raises `Refusal`."""
    require_members(body, "", "chain checkpoint")
    chain = read_chain(body, own)
    try:
        trusted = checkpoint_of(body["checkpoint"])
    except ProofError as error:
        raise refusal_of(error, "checkpoint") from error
    if trusted.number >= NUMBER_BOUND:
        raise Refusal("BODY_MALFORMED", field="checkpoint", fault="a height of 2^53 or more")
    return chain, trusted


def read_headers(value: Json) -> Sequence[CertifiedHeader]:
    """From 1 to `HEADERS_MAX` headers, of which no signature was checked; raises `Refusal`."""
    if not isinstance(value, list) or not 1 <= len(value) <= HEADERS_MAX:
        fault = f"not an array of 1 to {HEADERS_MAX} headers"
        raise Refusal("BODY_MALFORMED", field="headers", fault=fault)
    headers = [_header(row, f"headers[{index}]") for index, row in enumerate(value)]
    if sum(len(each.signatures) for each in headers) > SIGNATURES_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="signatures", maximum=SIGNATURES_MAX)
    return headers


def refusal_of(error: ProofError, field: str) -> Refusal:
    """What the verifier of that chain refuses, as a contract does."""
    if error.code == MALFORMED:
        return Refusal("BODY_MALFORMED", field=field, fault=error.detail)
    return Refusal(error.code, piece=error.piece, detail=error.detail)


def _header(row: Json, field: str) -> CertifiedHeader:
    try:
        certified = parse_header(row)
    except ProofError as error:
        raise refusal_of(error, field) from error
    if canonical_json(header_value(certified)) != canonical_json(row):
        fault = "members that no verifier reads"
        raise Refusal("BODY_MALFORMED", field=field, fault=fault)
    if certified.header.number >= NUMBER_BOUND:
        raise Refusal("BODY_MALFORMED", field=field, fault="a height of 2^53 or more")
    return certified
