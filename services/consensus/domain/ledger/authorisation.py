"""The stateful part of admission: is the sender known and active, and is this a valid key of his?

It is a courtesy at submission and the rule at execution. It grants no right to do a thing: which
role a method asks for, the contract decides.
"""

from __future__ import annotations

import json
from typing import Final

from guqiao_sdk.proof.receipt import SIGNED_BY_ANOTHER
from guqiao_sdk.proof.transaction import Payload, Signer
from services.consensus.domain.contracts.host import Party, Refusal
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    KeyRecord,
    identity_from_state,
    identity_key,
)
from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.ledger.misplaced_documents import misplaced
from services.consensus.domain.ledger.star_calls import judge_arguments
from services.consensus.domain.ledger.state import Readable, StateReader

NOT_AUTHORISED: Final = frozenset(
    {
        SIGNED_BY_ANOTHER,
        "SENDER_UNKNOWN",
        "IDENTITY_DEACTIVATED",
        "KEY_UNKNOWN",
        "KEY_REVOKED",
        "KEY_NOT_VALID",
        "ORGANISATION_MISMATCH",
    }
)
"""What the state may say of a signer that it said otherwise, or will, at another height."""


class Identities:
    """The identities of a state, each read once while its record stays the same."""

    __slots__ = ("_seen", "_state")

    def __init__(self, state: Readable) -> None:
        self._state = state
        self._seen: dict[str, tuple[bytes, IdentityRecord]] = {}

    def find(self, did: str) -> IdentityRecord | None:
        """Return the record of `did` as the state has it now, or None."""
        value = self._state.get(contract_key("identity", identity_key(did)))
        if value is None:
            return None
        seen = self._seen.get(did)
        if seen is None or seen[0] != value:
            seen = value, identity_from_state(json.loads(value))
            self._seen[did] = seen
        return seen[1]


def authorise(
    identities: Identities, transaction: AdmittedTransaction, block_time_ms: int
) -> tuple[Party, Party | None]:
    """Return maker and checker as the state knows them; raises `Refusal`."""
    payload, keys = transaction.payload, transaction.signed.signatures
    maker = _party(identities, payload.maker, keys[0][0], block_time_ms)
    if maker.organisation != payload.organisation:
        raise Refusal("ORGANISATION_MISMATCH", did=maker.did, organisation=payload.organisation)
    if payload.checker is None:
        return maker, None
    return maker, _party(identities, payload.checker, keys[1][0], block_time_ms)


def check_signers(
    identities: Identities, transaction: AdmittedTransaction, block_time_ms: int
) -> Refused | None:
    """What execution would refuse for the signers alone, as things stand."""
    try:
        authorise(identities, transaction, block_time_ms)
    except Refusal as refusal:
        return Refused(refusal.code, dict(refusal.fields))
    return None


def check_stateful(
    state: StateReader,
    transaction: AdmittedTransaction,
    *,
    block_time_ms: int,
    identities: Identities | None = None,
) -> Refused | None:
    """Say at submission what execution would refuse as things stand; execution decides.

    `identities` of the same state, where several transactions are asked about.
    """
    if state.executed(transaction.id):
        return Refused("TRANSACTION_DUPLICATE", {"transaction": transaction.id.hex()})
    unknown = check_signers(identities or Identities(state), transaction, block_time_ms)
    if unknown is not None:
        return unknown
    personal = judge_arguments(state, transaction.payload)
    if personal is not None:
        return Refused(personal.code, dict(personal.fields))
    out_of_place = misplaced(state, transaction.payload)
    if out_of_place is not None:
        return Refused(out_of_place.code, dict(out_of_place.fields))
    return _check_predecessor(state, transaction.payload)


def _check_predecessor(state: StateReader, payload: Payload) -> Refused | None:
    if payload.after is None or state.executed(payload.after):
        return None
    return Refused("PREDECESSOR_MISSING", {"after": payload.after.hex()})


def _party(identities: Identities, signer: Signer, public_key: bytes, block_time_ms: int) -> Party:
    did, key_id = signer
    record = identities.find(did)
    if record is None:
        raise Refusal("SENDER_UNKNOWN", did=did)
    if not record.active:
        raise Refusal("IDENTITY_DEACTIVATED", did=did)
    key = record.keys.get(key_id)
    if key is None:
        raise Refusal("KEY_UNKNOWN", did=did, key=key_id)
    _check_key(signer, key, public_key, block_time_ms)
    return Party(did, key_id, record.organisation, record.roles)


def _check_key(signer: Signer, key: KeyRecord, public_key: bytes, block_time_ms: int) -> None:
    did, key_id = signer
    if key.public_key != public_key:
        raise Refusal("KEY_MISMATCH", did=did, key=key_id)
    if key.revoked:
        raise Refusal("KEY_REVOKED", did=did, key=key_id)
    if not key.not_before_ms <= block_time_ms <= key.not_after_ms:
        raise Refusal("KEY_NOT_VALID", did=did, key=key_id, block_time_ms=block_time_ms)
