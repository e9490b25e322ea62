"""The replica sets of a chain from a trusted one on, each proven by the one before it."""

from __future__ import annotations

from collections.abc import Iterable

from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance, follow_set_changes
from guqiao_sdk.proof.quorum import ReplicaSet


class SetHistory:
    """Sets by epoch. A header is judged by the set of its epoch, and only up to its end."""

    def __init__(self, trust: ChainTrust, verify: Verify) -> None:
        self._verify = verify
        self._first = trust.replica_set.epoch
        self._changes: list[SetChange] = []
        # What is believed at the beginning of each epoch.
        self._beginnings = [
            TrustedChain.from_genesis(trust.genesis_hash, trust.replica_set, trust.authorities)
        ]

    @property
    def chain_id(self) -> str:
        """The chain whose sets these are."""
        return self._beginnings[0].chain_id

    @property
    def first_set(self) -> ReplicaSet:
        """The trusted set: the one before all set changes."""
        return self._beginnings[0].replica_set

    @property
    def epoch(self) -> int:
        """The latest epoch whose set is known."""
        return self._beginnings[-1].replica_set.epoch

    def learn(self, encoded: Iterable[bytes]) -> None:
        """Follow set changes, canonical bytes in order; those known already are passed over.

        Raises `ProofError`, and then what was known stays.
        """
        try:
            changes = [SetChange.decode(each) for each in encoded]
        except MalformedError as error:
            raise ProofError(f"set changes of {self.chain_id}", str(error)) from error
        new = [change for change in changes if change.replica_set.epoch > self.epoch]
        for change in new:
            self._beginnings.append(
                follow_set_changes(self._beginnings[-1], [change], self._verify)
            )
            self._changes.append(change)

    def changes_to(self, epoch: int) -> tuple[SetChange, ...]:
        """The set changes from the trusted set to that epoch: what a proof carries along."""
        return tuple(self._changes[: max(epoch - self._first, 0)])

    def set_of(self, header: BlockHeader) -> ReplicaSet:
        """The set that must have certified this header; raises `ProofError`."""
        index = header.epoch - self._first
        piece = f"header of {header.chain_id} height {header.height}"
        if index < 0:
            raise ProofError(piece, f"epoch {header.epoch} is before the trusted one")
        if index >= len(self._beginnings):
            raise ProofError(piece, f"how epoch {header.epoch} began is not known")
        if index < len(self._changes) and header.height > self._changes[index].header.height:
            raise ProofError(piece, f"epoch {header.epoch} ended below it")
        return self._beginnings[index].replica_set

    def verify_header(self, header: BlockHeader, certificate: FinalityCertificate) -> None:
        """Raise `ProofError` unless a light client that has followed the chain to the header's
        epoch takes it: whoever verifies offline judges it so.
        """
        self.set_of(header)  # Says what is amiss with the epoch, where something is.
        advance(self._beginnings[header.epoch - self._first], header, certificate, self._verify)
