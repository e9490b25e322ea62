"""A restart in the state: what the first block of the new epoch writes before its transactions.

The set of the new epoch, the restart with all its approvals, and the governors that come with it.
Until that block is executed, the same writes lie as a layer over the state: what replicas ask of
the sets is answered alike before and after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.restart import INVALID, RECORD_BYTES_MAX, Restart, RestartStatement
from services.consensus.domain.contracts.governance import entity_of
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    RecordError,
    identity_from_state,
    identity_key,
    parse_identity,
)
from services.consensus.domain.contracts.key_uses import (
    IDENTITY,
    KeyUse,
    other_use,
    public_keys,
    use_key,
)
from services.consensus.domain.contracts.replica_sets import (
    GOVERNANCE,
    restart_records,
    set_at,
)
from services.consensus.domain.ledger.host import read_json
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.ledger.state import Layer, Readable

GOVERNOR_DEPTH_MAX: Final = 8


class ContractState:
    """One contract's keys of a state, for reading."""

    __slots__ = ("_contract", "_state")

    def __init__(self, state: Readable, contract: str) -> None:
        self._state = state
        self._contract = contract

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, or None."""
        return read_json(self._state, contract_key(self._contract, key))


class GovernanceState(ContractState):
    """The governance contract's keys of a state, for reading."""

    __slots__ = ()

    def __init__(self, state: Readable) -> None:
        super().__init__(state, GOVERNANCE)


def restarted(state: Readable, restarts: Iterable[Restart]) -> Layer:
    """The state with the writes of these restarts over it, in their order."""
    layer = Layer(state)
    for each in restarts:
        write_restart(layer, each)
    return layer


def write_restart(layer: Layer, restart: Restart) -> None:
    """Let the set of a restart be in force from the height after its header on."""
    statement = restart.statement
    before = set_at(GovernanceState(layer), statement.height + 1)
    assert before is not None, "genesis names restart authorities only where governance keeps sets"
    assert before.replica_set == statement.old_set, "an approved restart of another chain"
    for key, value in restart_records(GovernanceState(layer), restart).items():
        encoded = None if value is None else canonical_json(value)
        layer.put(contract_key(GOVERNANCE, key), encoded)
    for record in governors_of(statement):
        place = contract_key(IDENTITY, identity_key(record.did))
        layer.put(place, canonical_json(record.to_json()))
    for public_key, use in _key_uses(statement):
        layer.put(contract_key(IDENTITY, use_key(public_key)), canonical_json(use.value))


def governors_of(statement: RestartStatement) -> list[IdentityRecord]:
    """The identities that come with the new set; raises `ProofError`."""
    return [
        _governor(encoded, f"governors[{index}] of the restart")
        for index, encoded in enumerate(statement.governors)
    ]


def check_against_state(state: Readable, statement: RestartStatement) -> None:
    """The rules of a restart that need the state after its header; raises `ProofError`."""
    piece = f"restart of {statement.chain_id} in epoch {statement.epoch}"
    before = {member.public_key for member in statement.old_set.members}
    for member in statement.new_set.members:
        key = member.public_key.hex()
        if state.get(contract_key("evidence", f"key/{key}")) is not None:
            raise ProofError(piece, f"the vote key {key} is known as guilty", INVALID)
    identities = ContractState(state, IDENTITY)
    _check_key_uses(piece, identities, statement)
    entities = {member.entity_id for member in statement.new_set.members}
    votes = before | {member.public_key for member in statement.new_set.members}
    named: set[str] = set()
    for record in governors_of(statement):
        if entity_of(record.organisation) not in entities or record.did in named:
            raise ProofError(piece, f"{record.did} is named twice or of no entity", INVALID)
        if any(public_key in votes for public_key in public_keys(record)):
            raise ProofError(piece, f"a vote key of {record.did} would govern", INVALID)
        present = identities.get(identity_key(record.did))
        if present is not None and roles.GOVERNOR not in identity_from_state(present).roles:
            raise ProofError(piece, f"{record.did} is known and no governor", INVALID)
        named.add(record.did)


def _check_key_uses(piece: str, identities: ContractState, statement: RestartStatement) -> None:
    for public_key, use in _key_uses(statement):
        known = other_use(identities, public_key, use)
        if known is not None:
            detail = f"the key {public_key.hex()} is for {known.value}, not for {use.value}"
            raise ProofError(piece, detail, INVALID)


def _key_uses(statement: RestartStatement) -> list[tuple[bytes, KeyUse]]:
    """The keys that the new set and its governors bring, and what each is for."""
    votes = [(member.public_key, KeyUse.VOTE) for member in statement.new_set.members]
    governors = [key for record in governors_of(statement) for key in public_keys(record)]
    return [*votes, *((key, KeyUse.GOVERNANCE) for key in governors)]


def _governor(encoded: bytes, piece: str) -> IdentityRecord:
    try:
        value = parse_json_strict(encoded, depth_max=GOVERNOR_DEPTH_MAX, size_max=RECORD_BYTES_MAX)
        record = parse_identity(value, field="governor")
    except (JsonError, RecordError) as error:
        raise ProofError(piece, str(error), INVALID) from error
    if record.roles != {roles.GOVERNOR} or canonical_json(value) != encoded:
        raise ProofError(piece, "not canonical, or of other roles than governor alone", INVALID)
    return record
