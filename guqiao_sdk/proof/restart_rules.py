"""When the restart of a chain holds: the rules of its statement, and whose approvals it needs.

Whoever judges brings the genesis hash, the authorities and the set in force; the statement brings
the rest with proofs. The same rules judge in replicas, light clients, contracts and offline tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import ZERO_HASH, Verify, verify_certificate
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.restart import (
    APPROVAL_INVALID,
    APPROVAL_MISSING,
    INVALID,
    OTHER_GENESIS,
    QUORUM_STANDS,
    REASON_BYTES_MAX,
    RECORD_BYTES_MAX,
    TOO_LOW,
    UNAVAILABLE,
    Approval,
    Remaining,
    Restart,
    RestartAuthorities,
    RestartStatement,
    Role,
    approval_sign_bytes,
    name_of,
    restarted_set,
    signers_of,
)
from guqiao_sdk.proof.state_proof import verify_state_proof

GOVERNOR: Final = "governor"
_RECORD_DEPTH_MAX: Final = 8

_Key: TypeAlias = tuple[bytes, int, int, bool]
"""The key, from and to which block time (ms) it may sign, and whether it is revoked."""


def verify_restart(
    restart: Restart,
    *,
    genesis_hash: bytes,
    authorities: RestartAuthorities | None,
    old_set: ReplicaSet,
    known_header_hash: bytes | None,
    verify: Verify,
    restarted_here: bool = False,
) -> None:
    """Raise `ProofError` unless the restart holds for whoever knows the chain by this genesis, this
    set of the height to come and, where the header is known already, its hash. `restarted_here`:
    the set in force began behind this very header, by a restart that certified nothing.
    """
    statement = restart.statement
    piece = _piece(statement)
    if authorities is None:
        raise ProofError(
            piece,
            "no restart authorities are known of the chain, so nobody can approve it here: "
            f"take a new trust file that has a checkpoint of epoch {statement.epoch}",
            UNAVAILABLE,
        )
    if statement.genesis_hash != genesis_hash:
        raise ProofError(piece, "it is of another genesis", OTHER_GENESIS)
    if statement.old_set != old_set:
        raise ProofError(piece, f"the set in force is that of epoch {old_set.epoch}", INVALID)
    check_statement(statement)
    is_known = statement.header.hash() == known_header_hash
    if not is_known:
        verify_certificate(statement.header, statement.certificate, old_set, verify)
    if statement.header.next_set_hash != old_set.hash() and not (is_known and restarted_here):
        raise ProofError(piece, "the header names another set for the next height", INVALID)
    for each in statement.remaining:
        governor_keys(statement, each)
    _check_approvals(restart, authorities, verify)


def check_statement(statement: RestartStatement) -> None:
    """The rules of a statement that need no trust; raises `ProofError`."""
    piece, header = _piece(statement), statement.header
    old, new = statement.old_set, statement.new_set
    if header.height < 1 or header.state_root == ZERO_HASH:
        raise ProofError(piece, "it starts from no certified header", INVALID)
    if old.chain_id != header.chain_id or old.epoch < header.epoch:
        raise ProofError(piece, "the old set is not the one after the header", INVALID)
    if new.chain_id != old.chain_id or new.epoch != old.epoch + 1:
        raise ProofError(piece, f"epoch {old.epoch} is followed by the next one", INVALID)
    if new.lineage != restarted_set(header, old, new.members).lineage:
        raise ProofError(piece, "the new set has not the lineage of this restart", INVALID)
    if not statement.certificate_is_exact:
        raise ProofError(piece, "its certificate does not have exactly a quorum", INVALID)
    if not statement.reason.strip() or len(statement.reason.encode()) > REASON_BYTES_MAX:
        raise ProofError(piece, "it gives no reason, or too long a one", INVALID)
    if statement.time_ms < header.block_time_ms:
        raise ProofError(piece, "its time is before that of its header", INVALID)
    _check_new_set(piece, old, new)
    _check_remaining(statement)


def governor_keys(statement: RestartStatement, remaining: Remaining) -> list[bytes]:
    """The keys with which the governor of an entity may sign: those of the record that the state
    under the header proves, valid at its block time. Raises `ProofError`.
    """
    piece, header = f"governor of {remaining.entity_id}", statement.header
    did, keys = _read_record(piece, remaining)
    verify_state_proof(
        piece=piece,
        root=header.state_root,
        key=f"identity/did/{did}".encode(),
        value=remaining.record,
        proof=remaining.proof,
    )
    members = (*statement.old_set.members, *statement.new_set.members)
    votes = {member.public_key for member in members}
    found = [
        public_key
        for public_key, not_before, not_after, revoked in keys
        if not revoked and not_before <= header.block_time_ms <= not_after
    ]
    usable = [key for key in found if key not in votes]
    if not usable:
        raise ProofError(piece, "he has no key that may govern at the header's time", INVALID)
    return usable


def double_approval(first: Restart, second: Restart, verify: Verify) -> list[Approval]:
    """Who signed two different restarts of one chain from one epoch, with his second approval:
    evidence that convicts him.
    """
    one, other = first.statement, second.statement
    same = (one.genesis_hash, one.epoch) == (other.genesis_hash, other.epoch)
    if not same or one == other:
        return []
    signed = {(each.role, each.public_key) for each in first.approvals if _holds(one, each, verify)}
    return [
        each
        for each in second.approvals
        if (each.role, each.public_key) in signed and _holds(other, each, verify)
    ]


def _check_new_set(piece: str, old: ReplicaSet, new: ReplicaSet) -> None:
    try:
        new.check()
    except ReplicaSetError as error:
        raise ProofError(piece, str(error), INVALID) from error
    numbers = {member.public_key: member.replica for member in old.members}
    kept = 0
    for member in new.members:
        number = numbers.get(member.public_key)
        if number is None:
            continue
        if number != member.replica or old.members[number].entity_id != member.entity_id:
            raise ProofError(piece, "a vote key keeps its number and its entity", INVALID)
        if number in old.jailed:
            raise ProofError(piece, f"the vote key of replica {number} is jailed", INVALID)
        kept += 1
    if new.jailed:
        raise ProofError(piece, "nobody of the new set is jailed yet", INVALID)
    if kept >= old.quorum:
        raise ProofError(
            piece, f"{kept} vote keys stay, a quorum of {old.quorum}: it decides", QUORUM_STANDS
        )


def _check_remaining(statement: RestartStatement) -> None:
    piece, header = _piece(statement), statement.header
    staying = statement.entities_staying()
    if not staying:
        raise ProofError(piece, "no entity of the old set stays", INVALID)
    if [each.entity_id for each in statement.remaining] != staying:
        raise ProofError(piece, "it does not name exactly the entities that stay", INVALID)
    highest = max(each.height for each in statement.remaining)
    if highest > header.height:
        raise ProofError(
            piece,
            f"it restarts above height {header.height}, an entity that stays holds {highest}",
            TOO_LOW,
        )
    for each in statement.remaining:
        held = each.height == header.height
        if held and each.header_hash != header.hash():
            raise ProofError(piece, f"{each.entity_id} holds another header", INVALID)
        if (each.height == 0) != (each.header_hash == ZERO_HASH):
            raise ProofError(piece, f"what {each.entity_id} holds contradicts itself", INVALID)
    if highest < header.height:
        raise ProofError(piece, "no entity that stays holds its header", INVALID)


def _check_approvals(restart: Restart, authorities: RestartAuthorities, verify: Verify) -> None:
    statement, piece = restart.statement, _piece(restart.statement)
    wanted = signers_of(statement)
    signed = [each.signer for each in restart.approvals]
    missing = [name_of(signer) for signer in wanted if signer not in signed]
    if missing:
        raise ProofError(piece, f"not approved by {', '.join(missing)}", APPROVAL_MISSING)
    if signed != wanted:
        raise ProofError(piece, "an approval is there twice or not needed", APPROVAL_INVALID)
    keys = [each.public_key for each in restart.approvals]
    if len(set(keys)) != len(keys):
        raise ProofError(piece, "one key approves twice", APPROVAL_INVALID)
    for each in restart.approvals:
        check_approval(statement, each, authorities, verify)


def check_approval(
    statement: RestartStatement,
    approval: Approval,
    authorities: RestartAuthorities,
    verify: Verify,
) -> None:
    """Raise `ProofError` unless the signer's own key signed this statement."""
    allowed = _allowed_keys(statement, approval, authorities)
    who = f"approval of {name_of(approval.signer)}"
    if approval.public_key not in allowed:
        raise ProofError(who, "it is signed with a key that is not his", APPROVAL_INVALID)
    if not _holds(statement, approval, verify):
        raise ProofError(who, "the signature under this statement does not hold", APPROVAL_INVALID)


def _allowed_keys(
    statement: RestartStatement, approval: Approval, authorities: RestartAuthorities
) -> Sequence[bytes]:
    match approval.role:
        case Role.CSRC:
            return [authorities.csrc]
        case Role.PROVINCE:
            return [authorities.province]
        case Role.ENTITY:
            found = [e for e in statement.remaining if e.entity_id == approval.entity_id]
            return governor_keys(statement, found[0]) if found else []


def _holds(statement: RestartStatement, approval: Approval, verify: Verify) -> bool:
    message = approval_sign_bytes(statement, approval.role, approval.entity_id)
    return verify(approval.public_key, message, approval.signature)


def _read_record(piece: str, remaining: Remaining) -> tuple[str, list[_Key]]:
    """The DID and the keys of a governor's record; raises `ProofError` where he is none of it."""
    try:
        value = parse_json_strict(
            remaining.record, depth_max=_RECORD_DEPTH_MAX, size_max=RECORD_BYTES_MAX
        )
    except JsonError as error:
        raise ProofError(piece, f"his record is not strict JSON: {error}", INVALID) from error
    match value:
        case {
            "did": str(did),
            "organisation": str(organisation),
            "roles": list(roles),
            "active": True,
            "keys": dict(keys),
        } if GOVERNOR in roles and organisation.rpartition(":")[2] == remaining.entity_id:
            return did, [_read_key(piece, key) for key in keys.values()]
    raise ProofError(piece, "the record is not that of an active governor of it", INVALID)


def _read_key(piece: str, value: Json) -> _Key:
    match value:
        case {
            "public_key": str(public_key),
            "not_before_ms": int(not_before),
            "not_after_ms": int(not_after),
            "revoked": bool(revoked),
        }:
            try:
                return bytes.fromhex(public_key), not_before, not_after, revoked
            except ValueError as error:
                raise ProofError(piece, "a key of his record is not in hex", INVALID) from error
    raise ProofError(piece, "a key of his record has another shape", INVALID)


def _piece(statement: RestartStatement) -> str:
    return f"restart of {statement.chain_id} in epoch {statement.epoch}"
