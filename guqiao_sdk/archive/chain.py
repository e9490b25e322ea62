"""The chain in an archive, judged block by block from a trusted set on.

The rule is the light client's, without leaps: every block follows the one before it by hash, every
height but genesis has a certificate of the set that the header before it names, and no checkpoint
of the trust file says otherwise. What a replica stored of its votes proves nothing and is not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from guqiao_sdk.archive.errors import invalid
from guqiao_sdk.archive.records import ArchivedBlock
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import (
    ZERO_HASH,
    BlockHeader,
    FinalityCertificate,
    Verify,
    verify_certificate,
)
from guqiao_sdk.proof.light_client import SetChange, check_header
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.restart import Restart
from guqiao_sdk.proof.restart_rules import verify_restart
from guqiao_sdk.proof.trust import ChainTrust

UNCERTIFIED_MAX: Final = 4_096
"""Blocks that wait for their certificates; replicas stay within a window, which is far less."""


class ChainWalk:
    """See the module. Blocks come in order of height; their certificates at any time behind
    them. `certified` is the last height up to which everything holds.
    """

    def __init__(self, trust: ChainTrust, verify: Verify) -> None:
        self._trust = trust
        self._verify = verify
        self._sets: dict[bytes, ReplicaSet] = {}
        self._set: ReplicaSet | None = None
        self._waiting: deque[BlockHeader] = deque()
        self._certificates: dict[int, FinalityCertificate] = {}
        self._named: dict[int, FinalityCertificate] = {}
        self._final: BlockHeader | None = None
        self._first_taken: int | None = None
        self.last: BlockHeader | None = None
        self.certified = -1
        self.changes: list[SetChange] = []

    @property
    def height(self) -> int:
        """The last block's height; -1 before genesis."""
        return -1 if self.last is None else self.last.height

    @property
    def replica_set(self) -> ReplicaSet:
        """The set that certifies what follows the last certified height."""
        assert self._set is not None, "genesis names the first set"
        return self._set

    @staticmethod
    def resume(
        trust: ChainTrust,
        verify: Verify,
        last: BlockHeader,
        sets: Iterable[ReplicaSet],
        named: Mapping[int, FinalityCertificate],
    ) -> ChainWalk:
        """Go on behind a header that is certified and known; `named` as `take_named` took them."""
        walk = ChainWalk(trust, verify)
        walk.learn([point.replica_set for point in trust.checkpoints])
        walk.learn(sets)
        walk.last, walk._final, walk.certified = last, last, last.height
        walk._set = walk._sets.get(last.next_set_hash)
        walk._named = dict(named)
        if walk._set is None:
            raise invalid(f"block {last.height}", "no manifest holds the set that it names")
        return walk

    def learn(self, sets: Iterable[ReplicaSet]) -> None:
        """Sets that headers may name. Believing one takes a certified header with its hash."""
        for each in sets:
            self._sets[each.hash()] = each

    def uncertified(self) -> dict[int, bytes]:
        """The heights whose certificates have not come yet, with the hashes of their headers."""
        return {
            header.height: header.hash()
            for header in self._waiting
            if header.height not in self._certificates
        }

    def mark(self) -> None:
        """What is taken from here on is one segment's."""
        self._first_taken = None

    def taken(self) -> tuple[int, BlockHeader] | None:
        """Since `mark`: the lowest height, and the last block's header."""
        if self._first_taken is None or self.last is None:
            return None
        return self._first_taken, self.last

    def is_of_later_epoch(self, header: BlockHeader) -> bool:
        """Whether this block may be the first one behind a restart: its write set tells."""
        return self.last is not None and header.epoch > self.replica_set.epoch

    def take_restarts(self, restarts: Sequence[Restart]) -> None:
        """The next block goes on from the last certified one, by these restarts: what stands
        between was never certified and is void. Raises `ProofError` where they do not hold.
        """
        for restart in restarts:
            self._go_on_from(restart)

    def take_block(self, block: ArchivedBlock) -> None:
        """The next block; raises `ProofError` unless it follows the last one."""
        header = block.header
        piece = f"block {header.height}"
        if header.chain_id != self._trust.chain_id:
            raise invalid(piece, f"it is not of chain {self._trust.chain_id}")
        if header.height != self.height + 1:
            raise invalid(piece, f"block {self.height + 1} is due")
        parent = ZERO_HASH if self.last is None else self.last.hash()
        if header.parent != parent:
            raise invalid(piece, "its parent is another block")
        if self.last is not None and header.block_time_ms < self.last.block_time_ms:
            raise invalid(piece, "its block time is before that of its parent")
        try:
            block.check_roots()
        except MalformedError as error:
            raise invalid(piece, str(error)) from error
        if self.last is None:
            self._begin(header)
        else:
            check_header(header)
            self._waiting.append(header)
        if len(self._waiting) > UNCERTIFIED_MAX:
            raise invalid(piece, f"{UNCERTIFIED_MAX} blocks before it have no certificate")
        self.last = header
        first = self._first_taken
        self._first_taken = header.height if first is None else min(first, header.height)
        self._settle()

    def take_certificate(self, height: int, certificate: FinalityCertificate) -> None:
        """A certificate of a block that came before; one that was taken already is judged again."""
        piece = f"finality certificate of {self._trust.chain_id} height {height}"
        if height > self.height:
            raise invalid(piece, "its block does not come before it")
        if height > self.certified:
            if self._certificates.setdefault(height, certificate) != certificate:
                raise invalid(piece, "there are two of it")
            self._settle()
            return
        if self._named.pop(height, None) != certificate:
            raise invalid(piece, "there are two of it")

    def take_named(self, height: int, certificate: FinalityCertificate) -> None:
        """A certificate that a manifest holds; its record is still to come and must be the same."""
        self.take_certificate(height, certificate)
        self._named[height] = certificate

    def _begin(self, header: BlockHeader) -> None:
        """Genesis has no certificate: the trust file vouches for its set, and the next header, with
        a certificate of that set, for its hash.
        """
        point = self._trust.checkpoint_of_epoch(header.epoch, header.height)
        if point.replica_set.hash() != header.next_set_hash:
            raise invalid("block 0", "it names another set than the trust file")
        self._trust.check_header(header, point.replica_set)
        self.learn([point.replica_set])
        self._set, self._final, self.certified = point.replica_set, header, 0

    def _go_on_from(self, restart: Restart) -> None:
        """Another set goes on from the last certified block: the authorities of the trust file have
        approved that, or it has a checkpoint of that epoch with the same set.
        """
        statement, final = restart.statement, self._final
        piece = f"restart of {statement.chain_id} in epoch {statement.epoch}"
        if final is None or statement.header != final:
            raise invalid(piece, "it does not go on from the last certified block")
        vouched = any(
            point.epoch == statement.epoch and point.replica_set == statement.new_set
            for point in self._trust.checkpoints
        )
        if self._trust.authorities is not None or not vouched:
            verify_restart(
                restart,
                genesis_hash=self._trust.genesis_hash,
                authorities=self._trust.authorities,
                old_set=self.replica_set,
                known_header_hash=final.hash(),
                restarted_here=final.next_set_hash != self.replica_set.hash(),
                verify=self._verify,
            )
        self._waiting.clear()
        self._certificates.clear()
        self.learn([statement.new_set])
        self.last, self._set = final, statement.new_set
        self.changes.append(SetChange.of_restart(restart))

    def _settle(self) -> None:
        """Judge what has both block and certificate, in order of height."""
        while self._waiting and self._waiting[0].height in self._certificates:
            header, present = self._waiting.popleft(), self.replica_set
            certificate = self._certificates.pop(header.height)
            verify_certificate(header, certificate, present, self._verify)
            self._trust.check_header(header, present)
            self._final, self.certified = header, header.height
            if header.next_set_hash != present.hash():
                self._change(header, certificate)

    def _change(self, header: BlockHeader, certificate: FinalityCertificate) -> None:
        piece = f"set change of {header.chain_id} at height {header.height}"
        following = self._sets.get(header.next_set_hash)
        if following is None:
            raise invalid(piece, "no manifest holds the set that the header names")
        if following.chain_id != header.chain_id or following.epoch != header.epoch + 1:
            raise invalid(piece, "the set is of another chain or of no following epoch")
        try:
            following.check()
        except ReplicaSetError as error:
            raise ProofError(piece, str(error)) from error
        self._set = following
        self.changes.append(SetChange(header, certificate, following))
