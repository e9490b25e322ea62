"""What a replica keeps beside its ledger, in the writer's folder: used nonces, evidence, and that
it has diverged.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from guqiao_sdk.proof.header import HASH_BYTES, SIGNATURE_BYTES
from guqiao_sdk.proof.votes import VoteType
from services.chassis.errors import UnavailableError
from services.chassis.grpc_server.nonces_file import FileNonceStore
from services.chassis.telemetry import Metrics
from services.consensus.chain_sets import ChainSets
from services.consensus.divergence import Divergence, DivergenceFile
from services.consensus.domain.effects import Equivocation, Evidence
from services.consensus.domain.messages import Digest, ReplicaId, SequenceNumber, Statement, View
from services.consensus.evidence import EvidenceFolder
from services.consensus.metrics import ReplicaMetrics
from services.consensus.store import ChainStore, FileOperations
from tests.integration.ledger.store_builder import GENESIS

OF_EVIDENCE: Final = "evidence "
OF_NONCES: Final = "nonces "
OF_DIVERGENCE: Final = "divergence "
DID: Final = "did:rem:shandong:SD000001"
NOW_MS: Final = 1_700_000_000_000
EXPIRES_MS: Final = NOW_MS + 1


class Beside:
    """Both, opened for the folder of a store."""

    def __init__(
        self, folder: Path, store: ChainStore, files_of: Callable[[str], FileOperations]
    ) -> None:
        self._evidence = EvidenceFolder(
            folder / "evidence",
            ChainSets(store, GENESIS),
            files_of(OF_EVIDENCE),
            ReplicaMetrics(Metrics()),
        )
        self.nonces = FileNonceStore(
            folder / "nonces",
            now_ms=lambda: NOW_MS,
            monotonic=itertools.count().__next__,  # The pause after a failure is over each time.
            files=files_of(OF_NONCES),
        )

        self._divergence = DivergenceFile(folder, files_of(OF_DIVERGENCE))

    def diverge(self, height: int) -> None:
        """As the replica does that came to another header than a quorum certified."""
        self._divergence.keep(Divergence(height, "another header", own_hash=bytes(32)))

    @property
    def has_diverged(self) -> bool:
        """Whether a start finds it halted."""
        return self._divergence.is_there

    def use_nonce(self, number: int) -> bool:
        """False where it was used before; raises `UnavailableError` where nobody knows."""
        return asyncio.run(self.nonces.remember(DID, f"{number:032x}", EXPIRES_MS))

    def keep_evidence(self, height: int) -> bool:
        """The proof that a replica signed twice at this height; False where the disk is full."""
        first, second = (
            Statement(
                VoteType.PREPARE,
                View(0),
                SequenceNumber(height),
                Digest(bytes([mark]) * HASH_BYTES),
                ReplicaId(height % 4),
                bytes(SIGNATURE_BYTES),
            )
            for mark in (1, 2)
        )
        evidence = Evidence(ReplicaId(height % 4), Equivocation(first, second))
        self._evidence.keep(replace(GENESIS.replica_set, epoch=height), evidence)
        return height in self.proofs()

    def proofs(self) -> dict[int, tuple[object, ...]]:
        """The proofs that wait here, by their height."""
        bodies = self._evidence.pending().values()
        return {int(str(body["epoch"])): tuple(sorted(body.items())) for body in bodies}

    def check(self, *, nonces: Iterable[int], evidence: Iterable[int]) -> None:
        """Nothing that was acknowledged is gone, and nothing was damaged."""
        assert not self.nonces.was_damaged
        for number in nonces:
            assert not self.use_nonce(number), "an acknowledged nonce is lost"
        missing = set(evidence) - set(self.proofs())
        assert not missing, f"acknowledged evidence is lost: {missing}"

    def said_of_nonce(self, number: int) -> str:
        """What comes of a request with this nonce: `known`, `forgotten`, or an error's code."""
        try:
            return "forgotten" if self.use_nonce(number) else "known"
        except UnavailableError as error:
            return error.code

    def close(self) -> None:
        """Let go of the files."""
        self.nonces.close()
