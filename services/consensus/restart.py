"""The ceremony at stopped replicas: what a folder holds, the statement, and putting it in force.

`compose` makes a statement from the folders of survivors, `judge` says whether a folder may go by a
restart, `put_in_force` does it: one small file, then the index is built without what is void.
Called again, it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import (
    ZERO_HASH,
    BlockHeader,
    FinalityCertificate,
    Verify,
    verify_certificate,
)
from guqiao_sdk.proof.quorum import Member
from guqiao_sdk.proof.restart import (
    INVALID,
    TOO_LOW,
    UNAVAILABLE,
    Remaining,
    Restart,
    RestartStatement,
    restarted_set,
)
from guqiao_sdk.proof.restart_rules import check_statement, governor_keys, verify_restart
from services.consensus.chain_sets import ChainSets
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.restarting import check_against_state
from services.consensus.store import ChainStore, StoreOptions

APPLIED: Final = "RESTART_APPLIED"
_IDENTITIES: Final = b"identity/did/"
_PIECE: Final = "restart"


@dataclass(frozen=True, slots=True)
class Survivor:
    """The open folder of a stopped replica."""

    number: int
    store: ChainStore
    genesis: Genesis

    @property
    def sets(self) -> ChainSets:
        """What it knows of the replica sets."""
        return ChainSets(self.store, self.genesis)

    def held(self) -> BlockHeader:
        """The highest header that is final here; raises `ProofError` where blocks below one that
        is certified are missing, for then what is final here cannot be told.
        """
        certified, known = self.store.last_certified, self.store.restore_to
        header = self.store.get_header(certified)
        if known > certified or header is None:
            raise ProofError(
                f"folder of replica {self.number}",
                f"height {known} is certified, but blocks above {certified} are missing: "
                "let the replica restore them from another first",
                TOO_LOW,
            )
        return header


def compose(
    survivors: Sequence[Survivor],
    members: tuple[Member, ...],
    governors: tuple[bytes, ...],
    *,
    reason: str,
    time_ms: int,
) -> RestartStatement:
    """The statement that goes on from the highest header which a survivor holds, with `members`;
    raises `ProofError` where the rules refuse it.
    """
    highest = max(survivors, key=lambda each: each.held().height)
    header, genesis = highest.held(), highest.genesis
    if genesis.restart_authorities is None:
        raise ProofError(_PIECE, "genesis names no restart authorities", UNAVAILABLE)
    certificate = highest.store.get_certificate(header.height)
    if certificate is None:
        raise ProofError(_PIECE, "no block is certified: found the chain anew", INVALID)
    old = highest.sets.set_at(header.height + 1)
    statement = RestartStatement(
        genesis_hash=genesis.hash(),
        header=header,
        certificate=_cut(certificate, highest.sets.set_at(header.height).quorum),
        old_set=old,
        new_set=restarted_set(header, old, members),
        remaining=(),
        governors=governors,
        reason=reason,
        time_ms=max(time_ms, header.block_time_ms),
    )
    remaining = tuple(
        _remaining(statement, entity, survivors, highest) for entity in statement.entities_staying()
    )
    statement = replace(statement, remaining=remaining)
    check_statement(statement)
    with highest.store.state_reader() as state:
        check_against_state(state, statement)
    return statement


def judge(folder: Survivor, restart: Restart, verify: Verify) -> None:
    """Raise `ProofError` unless this folder may go by the restart."""
    statement, genesis, sets = restart.statement, folder.genesis, folder.sets
    held, height = folder.held(), statement.height
    known = folder.store.get_header(min(height, held.height))
    if held.height > height:
        raise ProofError(
            _PIECE,
            f"it goes on from height {height}, replica {folder.number} holds {held.height}",
            TOO_LOW,
        )
    is_level = held.height == height
    ends_epoch = statement.header.epoch != statement.old_set.epoch
    if ends_epoch and not is_level:
        # The old set begins behind the header; the one that certified it may not be known here.
        present = sets.set_at(held.height + 1)
        if present.epoch == statement.header.epoch:
            verify_certificate(statement.header, statement.certificate, present, verify)
    if is_level and (known is None or known != statement.header):
        raise ProofError(_PIECE, f"replica {folder.number} holds another header {height}", INVALID)
    verify_restart(
        restart,
        genesis_hash=genesis.hash(),
        authorities=genesis.restart_authorities,
        old_set=sets.set_at(height + 1) if is_level else statement.old_set,
        known_header_hash=statement.header.hash() if is_level or ends_epoch else None,
        restarted_here=is_level and sets.restart_base(statement.old_set.epoch) == height,
        verify=verify,
    )
    if is_level:
        with folder.store.state_reader() as state:
            check_against_state(state, statement)


def put_in_force(
    path: Path,
    genesis: Genesis,
    number: int,
    restart: Restart,
    verify: Verify,
    options: StoreOptions,
) -> bool:
    """Let the stopped replica in this folder go by the restart; False where it does already.

    Raises `ProofError` where the restart does not hold here, and `StorageError`: then, and after a
    kill, the folder is as it was, or goes by the restart.
    """
    store = ChainStore.open(path, genesis, replica=number, options=options)
    try:
        folder = Survivor(number, store, genesis)
        if _is_in_force(folder, restart):
            return False
        judge(folder, restart, verify)
        store.keep_restart(restart)
    finally:
        store.close()
    ChainStore.open(path, genesis, replica=number, options=options).close()
    return True


def _is_in_force(folder: Survivor, restart: Restart) -> bool:
    """Whether the folder goes by this restart, or its chain does; raises `ProofError` where that
    epoch began otherwise, be it with other signatures: they are part of the state.
    """
    epoch = restart.statement.epoch
    mine = [each for each in folder.store.restarts if each.statement.epoch == epoch]
    chain = [
        change.restart
        for change in folder.sets.set_changes(epoch - 1)
        if change.replica_set.epoch == epoch and change.header.height <= folder.store.last_certified
    ]
    is_begun = epoch <= folder.sets.set_at(folder.store.last_certified + 1).epoch
    for known in (*mine, *(chain if is_begun else ())):
        if known != restart:
            raise ProofError(
                _PIECE, f"epoch {epoch} began otherwise at replica {folder.number}", APPLIED
            )
        return True
    return False


def _cut(certificate: FinalityCertificate, quorum: int) -> FinalityCertificate:
    """With exactly a quorum of signatures, as proofs carry it."""
    return FinalityCertificate(certificate.header_hash, certificate.signatures[:quorum])


def _remaining(
    statement: RestartStatement, entity: str, survivors: Iterable[Survivor], highest: Survivor
) -> Remaining:
    """What an entity that stays holds, and the governor who speaks for it."""
    numbers = {member.replica for member in statement.old_set.members if member.entity_id == entity}
    headers = [each.held() for each in survivors if each.number in numbers]
    held = max(headers, key=lambda header: header.height, default=None)
    place = (held.height, held.hash()) if held is not None and held.height else (0, ZERO_HASH)
    found = _governors(statement, entity, place, highest)
    if not found:
        raise ProofError(f"governor of {entity}", "there is none whose key may sign", INVALID)
    return found[0]


def _governors(
    statement: RestartStatement, entity: str, place: tuple[int, bytes], highest: Survivor
) -> list[Remaining]:
    found: list[Remaining] = []
    with highest.store.state_reader() as state:
        keys = [key for key, value in state.scan(_IDENTITIES) if _speaks_for(value, entity)]
    for key in keys:
        proven = highest.store.prove_state(statement.height, key)
        if proven is None or proven[0] is None:
            continue
        candidate = Remaining(entity, *place, proven[0], proven[1])
        try:
            governor_keys(statement, candidate)
        except ProofError:
            continue  # Another one may speak for it.
        found.append(candidate)
    return found


def _speaks_for(record: bytes, entity: str) -> bool:
    value = json.loads(record)
    return str(value["organisation"]).rpartition(":")[2] == entity and "governor" in value["roles"]
