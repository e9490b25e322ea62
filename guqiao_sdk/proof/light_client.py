"""The light client: what one chain, or an auditor with a file, may believe of another chain.

It starts from a replica set that it was given and moves by finality certificates alone. Heights may
be skipped within an epoch; epochs may not: each set change is a header of the old epoch, certified
by the old quorum, that names the hash of the new set. Nothing is taken from the sender unproven,
and there is no unverified mode (design section 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from guqiao_sdk.proof.batch import batch_digest
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import (
    HASH_BYTES,
    ZERO_HASH,
    BlockHeader,
    FinalityCertificate,
    Verify,
    verify_certificate,
)
from guqiao_sdk.proof.misbehaviour import CertifiedHeader, other_hash
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.restart import RESTART_BYTES_MAX, TOO_LOW, Restart, RestartAuthorities
from guqiao_sdk.proof.restart_rules import verify_restart

SET_CHANGES_MAX: Final = 64
"""Set changes in one step; whoever is further behind takes several steps."""

_UNVERIFIED: Final = "HEADER_UNVERIFIED"


@dataclass(frozen=True, slots=True)
class TrustedChain:
    """What is believed of one chain.

    `replica_set` certifies the heights above `height`, except where `header` (the latest certified
    one, None at the start) names another next set: then a set change must come first.
    `header_hash` is known at the start where a checkpoint gave it, and None after a bare genesis.
    `authorities` may approve a restart, none can be followed without; `restarted_at` is the height
    of the last one that was: the header there names the set that could not go on. `certified` is
    `header` with the certificate that was judged, where the caller keeps it: evidence of a fork.
    """

    chain_id: str
    genesis_hash: bytes
    replica_set: ReplicaSet
    height: int
    header_hash: bytes | None
    block_time_ms: int
    header: BlockHeader | None
    authorities: RestartAuthorities | None = None
    restarted_at: int | None = None
    certified: CertifiedHeader | None = field(default=None, compare=False)

    @staticmethod
    def from_genesis(
        genesis_hash: bytes,
        replica_set: ReplicaSet,
        authorities: RestartAuthorities | None = None,
    ) -> TrustedChain:
        """Start from a chain's genesis: its hash and its first replica set."""
        return TrustedChain.from_checkpoint(genesis_hash, replica_set, 0, None, authorities)

    @staticmethod
    def from_checkpoint(
        genesis_hash: bytes,
        replica_set: ReplicaSet,
        height: int,
        header_hash: bytes | None,
        authorities: RestartAuthorities | None = None,
    ) -> TrustedChain:
        """Start from a height of an epoch whose set is known; raises `ProofError` where any part
        is empty or breaks the rules.
        """
        piece = f"trust in {replica_set.chain_id}"
        _check_set(piece, replica_set)
        if len(genesis_hash) != HASH_BYTES or genesis_hash == ZERO_HASH:
            raise ProofError(piece, "a genesis hash that is empty proves nothing", _UNVERIFIED)
        if header_hash is not None and (len(header_hash) != HASH_BYTES or header_hash == ZERO_HASH):
            raise ProofError(piece, "a header hash that is empty proves nothing", _UNVERIFIED)
        return TrustedChain(
            replica_set.chain_id,
            genesis_hash,
            replica_set,
            height,
            header_hash,
            0,
            None,
            authorities,
        )


@dataclass(frozen=True, slots=True)
class SetChange:
    """The last header of an epoch, certified by that epoch's set, and the set that it names; or the
    restart of the chain behind that header, whose set the header does not name.
    """

    header: BlockHeader
    certificate: FinalityCertificate
    replica_set: ReplicaSet
    restart: Restart | None = None

    @staticmethod
    def of_restart(restart: Restart) -> SetChange:
        """The change that a restart makes."""
        statement = restart.statement
        return SetChange(statement.header, statement.certificate, statement.new_set, restart)

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().blob(self.header.encode()).blob(self.certificate.encode())
        writer.blob(self.replica_set.encode())
        if self.restart is not None:
            writer.blob(self.restart.encode())
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> SetChange:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        change = SetChange(
            BlockHeader.decode(reader.blob()),
            FinalityCertificate.decode(reader.blob()),
            ReplicaSet.decode(reader.blob()),
            Restart.decode(reader.blob(RESTART_BYTES_MAX)) if reader.has_more else None,
        )
        reader.end()
        if change.restart is not None and change != SetChange.of_restart(change.restart):
            raise MalformedError("the change is not the one of the restart in it")
        return change


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """Two certified headers of one chain that exclude each other.

    `replicas` signed both, with the legal entities behind them: at least n - 2(n - q) of them.
    """

    chain_id: str
    height: int
    first_hash: bytes
    second_hash: bytes
    replicas: tuple[tuple[int, str, str], ...]


class MisbehaviourError(ProofError):
    """A quorum certified what excludes something certified before: freeze and keep the evidence.

    `height` is that of the header that was brought, `known` the hash that was known of
    `known_height`, `other` what excludes it; `first` is what was known with its certificate (None
    where that was not kept), `second` what was brought.
    """

    def __init__(
        self, trusted: TrustedChain, second: CertifiedHeader, known: bytes, known_height: int
    ) -> None:
        chain_id, height = trusted.chain_id, second.header.height
        super().__init__(
            f"header of {chain_id} height {height}",
            "a quorum certified it, and it excludes a header certified before",
            "CLIENT_FROZEN",
        )
        self.chain_id = chain_id
        self.height = height
        self.known = known
        self.known_height = known_height
        self.other = other_hash(known_height, second.header)
        self.first = trusted.certified
        self.second = second


def advance(
    trusted: TrustedChain,
    header: BlockHeader,
    certificate: FinalityCertificate,
    verify: Verify,
    set_changes: Sequence[SetChange] = (),
    *,
    block_time_ms_max: int | None = None,
) -> TrustedChain:
    """Return the trust after `header`, or raise `ProofError` (`MisbehaviourError` for a fork).

    The latest header again changes nothing. `block_time_ms_max` refuses headers from the future,
    where the caller has a clock to say what that is.
    """
    followed = follow_set_changes(trusted, set_changes, verify)
    piece = _piece(header)
    if block_time_ms_max is not None and header.block_time_ms > block_time_ms_max:
        raise ProofError(piece, "its block time lies in the future", _UNVERIFIED)
    return _step(followed, header, certificate, verify)


def follow_set_changes(
    trusted: TrustedChain, set_changes: Sequence[SetChange], verify: Verify
) -> TrustedChain:
    """Return the trust after each set change in turn, or raise `ProofError`."""
    if len(set_changes) > SET_CHANGES_MAX:
        raise ProofError(
            f"set changes of {trusted.chain_id}",
            f"{len(set_changes)} of them, at most {SET_CHANGES_MAX} in one step",
            _UNVERIFIED,
        )
    for change in set_changes:
        trusted = _follow(trusted, change, verify)
    return trusted


def check_header(header: BlockHeader) -> None:
    """Raise `ProofError` where a header contradicts itself or holds an empty hash."""
    piece = _piece(header)
    if header.batch_digest != batch_digest(header.block_time_ms, header.transactions_root):
        raise ProofError(
            piece, "the batch digest is not that of its time and transactions", _UNVERIFIED
        )
    hashes = {
        "parent": header.parent,
        "transactions root": header.transactions_root,
        "receipts root": header.receipts_root,
        "state root": header.state_root,
        "next set": header.next_set_hash,
    }
    for name, value in hashes.items():
        if value == ZERO_HASH:
            raise ProofError(piece, f"an empty hash as {name} proves nothing", _UNVERIFIED)
    if header.height < 1:
        raise ProofError(piece, "no header below height 1 is ever certified", _UNVERIFIED)


def judge_misbehaviour(
    replica_set: ReplicaSet,
    first: tuple[BlockHeader, FinalityCertificate],
    second: tuple[BlockHeader, FinalityCertificate],
    verify: Verify,
) -> Misbehaviour:
    """Return what two conflicting headers show; raises `ProofError` where they show nothing."""
    (header, certificate), (other, other_certificate) = first, second
    piece = f"misbehaviour evidence of {replica_set.chain_id} height {header.height}"
    if header.height != other.height:
        raise ProofError(piece, "the two headers are of different heights", _UNVERIFIED)
    if header.hash() == other.hash():
        raise ProofError(piece, "the two headers are one and the same", _UNVERIFIED)
    verify_certificate(header, certificate, replica_set, verify)
    verify_certificate(other, other_certificate, replica_set, verify)
    both = {replica for replica, _ in certificate.signatures} & {
        replica for replica, _ in other_certificate.signatures
    }
    members = [replica_set.members[replica] for replica in sorted(both)]
    return Misbehaviour(
        chain_id=header.chain_id,
        height=header.height,
        first_hash=header.hash(),
        second_hash=other.hash(),
        replicas=tuple(
            (member.replica, member.entity_id, member.entity_name) for member in members
        ),
    )


def encode_set_changes(set_changes: Sequence[SetChange]) -> bytes:
    """The canonical encoding of a list of set changes."""
    return bytes(Writer().blobs([change.encode() for change in set_changes]))


def decode_set_changes(data: bytes) -> tuple[SetChange, ...]:
    """Read `encode_set_changes`' bytes; raises `MalformedError`."""
    reader = Reader(data)
    encoded = reader.blobs(SET_CHANGES_MAX)
    reader.end()
    return tuple(SetChange.decode(change) for change in encoded)


def _piece(header: BlockHeader) -> str:
    return f"header of {header.chain_id} height {header.height}"


def _check_set(piece: str, replica_set: ReplicaSet) -> None:
    try:
        replica_set.check()
    except ReplicaSetError as error:
        raise ProofError(piece, str(error), _UNVERIFIED) from error


def _follow(trusted: TrustedChain, change: SetChange, verify: Verify) -> TrustedChain:
    if change.restart is not None:
        return _follow_restart(trusted, change.restart, verify)
    after, new = _step(trusted, change.header, change.certificate, verify), change.replica_set
    piece = f"set change of {trusted.chain_id} to epoch {new.epoch}"
    if new.chain_id != trusted.chain_id or new.epoch != trusted.replica_set.epoch + 1:
        raise ProofError(
            piece,
            f"epoch {trusted.replica_set.epoch} of {trusted.chain_id} is followed by the next one",
            _UNVERIFIED,
        )
    _check_set(piece, new)
    if change.header.next_set_hash != new.hash():
        raise ProofError(piece, "the certified header names another set", _UNVERIFIED)
    return replace(after, replica_set=new)


def _follow_restart(trusted: TrustedChain, restart: Restart, verify: Verify) -> TrustedChain:
    """Whoever knows of a final height above the restart's keeps to what is final."""
    statement = restart.statement
    if trusted.height > statement.height:
        raise ProofError(
            f"restart of {trusted.chain_id} in epoch {statement.epoch}",
            f"it goes on from height {statement.height}, height {trusted.height} is final here",
            TOO_LOW,
        )
    known = trusted.header_hash if trusted.height == statement.height else None
    verify_restart(
        restart,
        genesis_hash=trusted.genesis_hash,
        authorities=trusted.authorities,
        old_set=trusted.replica_set,
        known_header_hash=known,
        restarted_here=trusted.restarted_at == statement.height,
        verify=verify,
    )
    if statement.header.hash() != known:
        trusted = _step(trusted, statement.header, statement.certificate, verify)
    return replace(trusted, replica_set=statement.new_set, restarted_at=statement.height)


def _step(
    trusted: TrustedChain, header: BlockHeader, certificate: FinalityCertificate, verify: Verify
) -> TrustedChain:
    """Judge one header by the set in force; what a quorum signed is judged for forks last."""
    piece = _piece(header)
    if header.chain_id != trusted.chain_id:
        raise ProofError(piece, f"it is not of chain {trusted.chain_id}", _UNVERIFIED)
    if header.height < trusted.height:
        raise ProofError(piece, f"height {trusted.height} is trusted already", _UNVERIFIED)
    if header.epoch != trusted.replica_set.epoch:
        raise ProofError(
            piece, f"epoch {header.epoch} follows no trusted set change here", _UNVERIFIED
        )
    check_header(header)
    if trusted.header is not None and header.height > trusted.height:
        _check_continues(piece, trusted, trusted.header, header)
    verify_certificate(header, certificate, trusted.replica_set, verify)
    certified = CertifiedHeader(header, certificate, trusted.replica_set)
    _check_no_fork(trusted, certified)
    return replace(
        trusted,
        certified=certified,
        height=header.height,
        header_hash=header.hash(),
        block_time_ms=header.block_time_ms,
        header=header,
    )


def _check_continues(
    piece: str, trusted: TrustedChain, known: BlockHeader, header: BlockHeader
) -> None:
    restarted = known.height == trusted.restarted_at
    if not restarted and known.next_set_hash != trusted.replica_set.hash():
        raise ProofError(piece, "the epoch ended below it: a set change is missing", _UNVERIFIED)
    if header.block_time_ms < known.block_time_ms:
        raise ProofError(piece, "its block time is before that of a lower height", _UNVERIFIED)


def _check_no_fork(trusted: TrustedChain, brought: CertifiedHeader) -> None:
    """Judge a header of the trusted height, or of the next one, against what is trusted there."""
    known, height = trusted.header_hash, trusted.height
    if known is None or brought.header.height > height + 1:
        return
    if other_hash(height, brought.header) != known:
        raise MisbehaviourError(trusted, brought, known, height)
