"""What a simulated replica keeps: the core's records, blocks and certificates.

`Durable` is the ledger as the driver uses it. `MemoryLedger` keeps bytes in memory and is quick;
the production's store, over files that can be damaged, is in `stored`. A kill leaves what was
written, a power cut only what was made durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.codec import decode_log_record, encode_log_record
from services.consensus.domain.contracts.replica_sets import set_of_epoch
from services.consensus.domain.ledger.execution import replica_set_at
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.restarting import GovernanceState
from services.consensus.domain.messages import (
    CertifiedHead,
    Digest,
    EpochStarted,
    LogRecord,
    Record,
    SequenceNumber,
    View,
)
from tests.simulation.once import bytes_of
from tests.simulation.workload import ExecutedBlock, Execution, State

BLOCKS_ANSWERED_MAX: Final = 50


class Durable(Protocol):
    """One replica's ledger, as far as consensus needs it."""

    @property
    def genesis(self) -> Genesis:
        """The chain's rules."""

    @property
    def must_restore(self) -> bool:
        """Whether certified blocks or votes are missing: the replica may not take part yet."""

    def view_floor(self, epoch: int) -> View:
        """The replica takes part in no view of `epoch` below."""

    def set_at(self, height: int) -> ReplicaSet:
        """The set that certifies `height`."""

    def epoch_base(self, epoch: int) -> SequenceNumber:
        """The height that `epoch` starts above."""

    def epoch_end(self, epoch: int) -> SequenceNumber | None:
        """The last height of `epoch`."""

    def is_over(self, epoch: int) -> bool:
        """Whether a restart of the folder begins a later epoch."""

    def head(self) -> CertifiedHead:
        """Where the core starts from."""

    @property
    def last_height(self) -> int:
        """The last executed height; 0 is genesis."""

    @property
    def last_certified(self) -> int:
        """The last height below and at which every block has its certificate."""

    def append(self, epoch: int, records: Sequence[Record]) -> None:
        """Make records of the core of `epoch` durable, the promise before them, and every block."""

    def compact(self, records: Sequence[LogRecord]) -> None:
        """Let these records stand for all so far."""

    def records(self) -> Iterable[LogRecord]:
        """The core's records since the last compaction."""

    def execute(self, batch: Batch) -> BlockHeader:
        """Execute after the last block; durable with the next `append`."""

    def header(self, height: int) -> BlockHeader:
        """The header of a block that is here."""

    def certificate(self, height: int) -> FinalityCertificate | None:
        """The certificate of a block, if it is here."""

    def certify(self, height: int, certificate: FinalityCertificate) -> None:
        """Keep the certificate of a block."""

    def block_message(self, height: int) -> ledger_pb2.Block | None:
        """A certified block as it travels, or None."""

    @property
    def history_from(self) -> int:
        """Above this height every block is here."""

    def block(self, height: int) -> ExecutedBlock:
        """A block that is here."""

    def close(self, *, power_cut: bool) -> None:
        """The process ended."""


def blocks_from(ledger: Durable, first: int, last: int) -> list[ledger_pb2.Block]:
    """The certified blocks of these heights that are here, up to the first gap."""
    blocks: list[ledger_pb2.Block] = []
    for height in range(first, last + 1):
        block = ledger.block_message(height)
        if block is None:
            break
        blocks.append(block)
    return blocks


def apply_certified(ledger: Durable, block: VerifiedBlock) -> bool:
    """Take a certified block: execute it unless that was done; False if it comes out otherwise."""
    if block.height > ledger.last_height:
        if ledger.header(ledger.last_height).hash() != block.header.parent:
            return False
        ledger.execute(block.batch)
    if ledger.header(block.height).hash() != block.header.hash():
        return False
    ledger.certify(block.height, block.certificate)
    return True


def head_of(ledger: Durable) -> CertifiedHead:
    """Where the core starts from."""
    height = ledger.last_certified
    header = ledger.header(height)
    return CertifiedHead(
        SequenceNumber(height),
        Digest(header.hash()),
        header.block_time_ms,
        ledger.certificate(height) if height else None,
    )


def message_of(ledger: Durable, height: int) -> ledger_pb2.Block:
    """A certified block as it travels."""
    block, certificate = ledger.block(height), ledger.certificate(height)
    assert certificate is not None, "a certified block has its certificate"
    following = ledger.set_at(height + 1)
    named = following.hash() == block.header.next_set_hash
    is_next = named and following.epoch > block.header.epoch
    return ledger_pb2.Block(
        certified_header=ledger_pb2.CertifiedHeader(
            header=block.header.encode(), certificate=certificate.encode()
        ),
        batch=block.batch.encode(),
        receipts=block.result.encoded_receipts,
        next_replica_set=following.encode() if is_next else b"",
    )


def blocks_for(ledger: Durable, request: peer_pb2.BlockRequest) -> list[ledger_pb2.Block]:
    """The certified blocks that somebody asks for, as far as they are here."""
    first, last = request.from_height, request.to_height
    return blocks_from(ledger, first, min(last, first + BLOCKS_ANSWERED_MAX))


class MemoryLedger:
    """Keeps everything in memory; `_durable` is what a power cut leaves. It forgets no vote."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.genesis = execution.genesis
        self.must_restore = False
        self.history_from = 0
        self._records: list[bytes] = []
        self._epoch = 0
        self._blocks: list[ExecutedBlock] = []
        self._certificates: dict[int, FinalityCertificate] = {}
        self._durable_blocks = 0
        self._durable_certificates: set[int] = set()
        self.last_certified = 0

    @property
    def last_height(self) -> int:
        return len(self._blocks)

    def view_floor(self, epoch: int) -> View:
        return View(0)

    def set_at(self, height: int) -> ReplicaSet:
        return replica_set_at(self._state(), self.genesis, height)

    def epoch_base(self, epoch: int) -> SequenceNumber:
        found = set_of_epoch(GovernanceState(self._state()), epoch)
        return SequenceNumber(0 if found is None else found.base)

    def epoch_end(self, epoch: int) -> SequenceNumber | None:
        following = set_of_epoch(GovernanceState(self._state()), epoch + 1)
        return None if following is None else SequenceNumber(following.from_height - 1)

    def is_over(self, epoch: int) -> bool:
        return False

    def head(self) -> CertifiedHead:
        return head_of(self)

    def append(self, epoch: int, records: Sequence[Record]) -> None:
        if epoch != self._epoch:
            self._epoch, self._records = epoch, [encode_log_record(EpochStarted(epoch))]
        self._records += map(bytes_of, records)
        self._settle()

    def compact(self, records: Sequence[LogRecord]) -> None:
        self._records = list(map(encode_log_record, records))
        self._settle()

    def records(self) -> list[LogRecord]:
        return [decode_log_record(data) for data in self._records]

    def execute(self, batch: Batch) -> BlockHeader:
        block = self._execution.execute(self.header(self.last_height), batch)
        self._blocks.append(block)
        return block.header

    def header(self, height: int) -> BlockHeader:
        return self._blocks[height - 1].header if height else self._execution.root

    def certificate(self, height: int) -> FinalityCertificate | None:
        return self._certificates.get(height)

    def certify(self, height: int, certificate: FinalityCertificate) -> None:
        assert certificate.header_hash == self.header(height).hash(), "another header is certified"
        self._certificates.setdefault(height, certificate)
        self._advance()

    def block_message(self, height: int) -> ledger_pb2.Block | None:
        if not 1 <= height <= self.last_certified:
            return None
        return message_of(self, height)

    def block(self, height: int) -> ExecutedBlock:
        return self._blocks[height - 1]

    def close(self, *, power_cut: bool) -> None:
        if power_cut:
            del self._blocks[self._durable_blocks :]
            kept = self._durable_certificates
            self._certificates = {h: c for h, c in self._certificates.items() if h in kept}
            self.last_certified = 0
            self._advance()

    def _state(self) -> State:
        return self._execution.state(self.header(self.last_height).hash())

    def _advance(self) -> None:
        while self.last_certified + 1 in self._certificates:
            self.last_certified += 1

    def _settle(self) -> None:
        self._durable_blocks = len(self._blocks)
        if len(self._durable_certificates) < len(self._certificates):
            self._durable_certificates.update(self._certificates)


OpenLedger = Callable[[int], Durable]
"""instance -> its ledger, opened again after each start."""
