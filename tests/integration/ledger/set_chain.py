"""The segments of a chain with two set changes, written by hand, and their archive in two steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.transaction import SignedTransaction, transaction_sign_bytes
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust
from services.consensus.domain.contracts.replica_sets import Cause, SetInForce, set_key
from services.consensus.domain.ledger.genesis import Genesis, genesis_header, genesis_state
from services.consensus.store.archive import Step, add_sealed_segments
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.folder import DataFolder
from services.consensus.store.segment import Segments
from tests.integration.ledger.store_builder import NO_FSYNC
from tests.unit.ledger.chain_builder import genesis_json, genesis_of, payload_of
from tests.unit.proof.proof_keys import Keys

CHANGES_AT = {9: 1, 14: 2}
"""The last heights of two epochs, and the epochs that follow."""
LAST = 24
SEGMENT_BYTES_MAX = 3_000
ISSUER = "did:rem:testing:issuer"


@dataclass
class SetChain:
    """Blocks of one transaction each; certificates stand one height late."""

    keys: Keys
    genesis: Genesis = field(init=False)

    def __post_init__(self) -> None:
        value = genesis_json()
        for at, replica in enumerate(value["replicas"]):
            replica["vote_key"] = self.keys.public_key(f"epoch-0-replica-{at}").hex()
        self.genesis = genesis_of(value)
        self.block = cache(self._block)

    def write(self, place: Path) -> None:
        """The data folder `data` and its archive `archive` below `place`."""
        folder = DataFolder(place / "data", self.genesis, 0, NO_FSYNC)
        segments = Segments(
            folder.segments, salt=folder.salt, bytes_max=SEGMENT_BYTES_MAX, files=NO_FSYNC
        )
        for height in range(LAST + 1):
            segments.append(RecordType.BLOCK, height, self.block(height).encode())
            if height > 1:
                certificate = self.certify(self.header(height - 1)).encode()
                segments.append(RecordType.CERTIFICATE, height - 1, certificate)
            segments.append(RecordType.CORE_COMPACTED, 0, bytes(4))
            segments.sync()
            if height == LAST // 2:
                self.archive(place)
        segments.close()
        folder.release()
        self.archive(place)

    def archive(self, place: Path) -> Step:
        return add_sealed_segments(
            place / "data", place / "archive", self.genesis, self.keys.verify, files=NO_FSYNC
        )

    def trust(self, checkpoints: Iterable[Checkpoint] = ()) -> Trust:
        """What an auditor believes: genesis, unless other checkpoints are given."""
        header = genesis_header(self.genesis)
        points = tuple(checkpoints) or (Checkpoint(0, 0, header.hash(), self.set_of(0)),)
        chain = ChainTrust(self.genesis.chain_id, self.genesis.hash(), points)
        key = self.keys.public_key(ISSUER)
        return Trust(ISSUER, key, "2026-01-05T09:30:00+08:00", (chain,))

    def set_of(self, epoch: int) -> ReplicaSet:
        members = (
            replace(member, public_key=self.keys.public_key(f"epoch-{epoch}-replica-{at}"))
            for at, member in enumerate(self.genesis.replica_set.members)
        )
        return ReplicaSet(self.genesis.chain_id, epoch, tuple(members))

    def certify(self, header: BlockHeader) -> FinalityCertificate:
        message = checkpoint_sign_bytes(header)
        names = [f"epoch-{header.epoch}-replica-{at}" for at in range(3)]
        signatures = tuple((at, self.keys.sign(name, message)) for at, name in enumerate(names))
        return FinalityCertificate(header.hash(), signatures)

    def header(self, height: int) -> BlockHeader:
        return self.block(height).header

    def transaction(self, height: int) -> SignedTransaction:
        """The one of this block."""
        request = f"00000000-0000-0000-0000-{height:012x}"
        payload = payload_of(request_id=request).to_bytes()
        signature = self.keys.sign("clerk", transaction_sign_bytes(payload))
        return SignedTransaction(payload, ((self.keys.public_key("clerk"), signature),))

    def _block(self, height: int) -> StoredBlock:
        if height == 0:
            batch = Batch(self.genesis.genesis_time_ms, ())
            state = dict(genesis_state(self.genesis))
            return StoredBlock(genesis_header(self.genesis), batch, (), state)
        parent, transaction = self.header(height - 1), self.transaction(height)
        receipt = Receipt(transaction.id(), Outcome.APPLIED, "", b"{}", b"", ()).encode()
        batch = Batch(parent.block_time_ms + 1, (transaction.encode(),))
        header = BlockHeader(
            chain_id=self.genesis.chain_id,
            epoch=_epoch_at(height),
            height=height,
            parent=parent.hash(),
            batch_digest=batch.digest(),
            block_time_ms=batch.block_time_ms,
            transactions_root=batch.transactions_root(),
            receipts_root=merkle_root([receipt]),
            state_root=b"s" * 32,
            next_set_hash=self.set_of(_epoch_at(height + 1)).hash(),
        )
        return StoredBlock(header, batch, (receipt,), self._writes(height))

    def _writes(self, height: int) -> dict[bytes, bytes | None]:
        """A change is scheduled four heights before it takes effect, and then again otherwise, as
        when a jailing goes in front of it.
        """
        writes: dict[bytes, bytes | None] = {b"scribble/k": b"%d" % height}
        for last, epoch in CHANGES_AT.items():
            if height in (last - 4, last - 3):
                wanted = self.set_of(epoch if height == last - 3 else epoch + 5)
                record = SetInForce(last + 1, Cause.GOVERNANCE, wanted)
                writes[f"governance/{set_key(epoch)}".encode()] = canonical_json(record.to_json())
                writes[b"governance/sets/latest"] = b'{"epoch":1,"window":8}'
        return writes


def _epoch_at(height: int) -> int:
    return sum(height > last for last in CHANGES_AT)
