"""The folder of an archive: verified as a whole, and proven from, with a TRUST file and no network.

Every file is judged by the digest in its manifest, every manifest by the one after it, every block
by the hash of its parent and by a finality certificate. What no manifest names is not part of the
archive: it is what an interrupted step left, and counted.
"""

from __future__ import annotations

import json
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from guqiao_sdk.archive.chain import UNCERTIFIED_MAX, ChainWalk
from guqiao_sdk.archive.errors import NotAnArchiveError, invalid
from guqiao_sdk.archive.manifest import (
    MANIFEST_BYTES_MAX,
    Blocks,
    Manifest,
    SegmentEntry,
    check_follows,
    manifest_name,
    manifest_number,
    parse_manifest,
)
from guqiao_sdk.archive.records import (
    ArchivedBlock,
    ArchivedRecord,
    Data,
    RecordType,
    read_restarts,
    records_of,
)
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.bundle import Bundle, CertifiedHeader
from guqiao_sdk.proof.canonical import MalformedError, Reader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.packet import Packet, Terms
from guqiao_sdk.proof.packet_events import PACKET_SENT
from guqiao_sdk.proof.receipt import Receipt, is_final
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import ChainTrust, Trust

Found = Callable[[ArchivedBlock], None]
OnProgress = Callable[[int, int], object]
"""Told how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class ArchiveVerdict:
    """What an archive proves: every block from genesis to `height`, each of them final.

    `manifest_digest` names the last manifest and through it all of the archive: whoever keeps it
    elsewhere notices when the archive's end is cut off. `unlisted` segments are no part of it.
    """

    chain_id: str
    genesis_hash: bytes
    replica: int | None
    manifests: int
    segments: int
    size: int
    height: int
    header_hash: bytes
    block_time_ms: int
    epoch: int
    set_changes: int
    transactions: int
    manifest_digest: bytes
    unlisted: int


def read_manifests(folder: Path) -> list[Manifest]:
    """The manifests in order, each following the one before it; raises `ProofError` that names the
    one that does not, and `NotAnArchiveError` where there is none.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    numbers = sorted(
        number for number in map(manifest_number, names) if number is not None and number
    )
    if not numbers:
        raise NotAnArchiveError(f"{folder} holds no manifest of an archive")
    found: list[Manifest] = []
    for number in range(1, numbers[-1] + 1):
        name = manifest_name(number)
        if name not in names:
            raise invalid(name, "it is missing")
        manifest = parse_manifest(_read(folder / name), name)
        check_follows(manifest, found[-1] if found else None)
        found.append(manifest)
    return found


def untold(done: int, total: int) -> None:
    """An `OnProgress` where nobody wants to know."""


def verify_archive(
    folder: Path, trust: Trust, verify: Verify, *, on_block: OnProgress = untold
) -> ArchiveVerdict:
    """Judge the whole archive; raises `ProofError` that names what does not hold, and
    `NotAnArchiveError` for another folder.
    """
    counted = _Counted()
    manifests, walk = _walk(folder, trust, verify, counted, on_block)
    last, header = manifests[-1], walk.last
    assert header is not None, "an archive holds genesis"
    entries = [entry for manifest in manifests for entry in manifest.segments]
    listed = {entry.file for entry in entries}
    return ArchiveVerdict(
        chain_id=last.chain_id,
        genesis_hash=last.genesis_hash,
        replica=last.replica,
        manifests=len(manifests),
        segments=len(entries),
        size=sum(entry.size for entry in entries),
        height=header.height,
        header_hash=header.hash(),
        block_time_ms=header.block_time_ms,
        epoch=header.epoch,
        set_changes=len(walk.changes),
        transactions=counted.transactions,
        manifest_digest=last.digest(),
        unlisted=sum(path.name not in listed for path in folder.glob("*.seg")),
    )


def prove_transaction(
    folder: Path, trust: Trust, transaction_id: bytes, *, on_block: OnProgress = untold
) -> Bundle | None:
    """The proof bundle of a transaction with the packets that it sent; None where it is not here.

    Signatures are not judged here: `verify_bundle` judges what is handed out.
    """
    search = _Search(transaction_id)
    _, walk = _walk(folder, trust, _unasked, search, on_block)
    if search.found is None:
        return None
    block, index = search.found
    header, certificate = block.header, search.certificates[block.header.height]
    certified = _certified(trust.chain(header.chain_id), walk, header, certificate)
    try:
        return _bundle(block, index, certified)
    except (ValueError, LookupError, TypeError) as error:
        piece = f"transaction {transaction_id.hex()} at height {header.height}"
        raise invalid(piece, f"it is malformed: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[Data]:
    """A segment file's content; raises `ProofError` where it cannot be read."""
    data = _mapped(path)
    try:
        yield data
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def _mapped(path: Path) -> Data:
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return b""  # Nothing cannot be mapped.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise invalid(path.name, "it is missing") from error
    except OSError as error:
        raise invalid(path.name, f"it cannot be read ({error.strerror})") from error


def check_digest(entry: SegmentEntry, data: Data) -> None:
    """Raise `ProofError` unless the file is the one that the manifest lists."""
    if len(data) != entry.size:
        raise invalid(entry.file, f"it has {len(data)} bytes, its manifest says {entry.size}")
    if sm3(data[:]) != entry.sm3:
        raise invalid(entry.file, "its digest is not the one in its manifest")


def chain_of(manifests: Sequence[Manifest], trust: Trust) -> ChainTrust:
    """What the trust file says of the archive's chain; raises `ProofError` where it is another."""
    chain = trust.chain(manifests[0].chain_id)
    if chain.genesis_hash != manifests[0].genesis_hash:
        raise invalid(manifests[0].file, "its genesis is not the one in the trust file")
    return chain


@dataclass(slots=True)
class _Counted:
    transactions: int = 0
    _latest: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=UNCERTIFIED_MAX))

    def take(self, block: ArchivedBlock) -> None:
        count = len(block.batch.transactions)
        self.transactions += count
        self._latest.append((block.header.height, count))

    def forget(self, height: int) -> None:
        """What stands above was never certified."""
        while self._latest and self._latest[-1][0] > height:
            self.transactions -= self._latest.pop()[1]

    def take_certificate(self, height: int, certificate: FinalityCertificate) -> None:
        """Nothing is counted of it."""


class _Search:
    """The block that holds a transaction's own receipt; that of a mere attempt while there is no
    other.
    """

    def __init__(self, transaction_id: bytes) -> None:
        self._id = transaction_id
        self._is_final = False
        self.found: tuple[ArchivedBlock, int] | None = None
        self.certificates: dict[int, FinalityCertificate] = {}

    def take(self, block: ArchivedBlock) -> None:
        for index, encoded in enumerate(block.receipts):
            if self._is_final or encoded[: len(self._id)] != self._id:
                continue
            self._is_final = is_final(Receipt.decode(encoded))
            self.found = block, index

    def forget(self, height: int) -> None:
        """What stands above was never certified."""
        if self.found is not None and self.found[0].header.height > height:
            self.found, self._is_final = None, False
        self.certificates = {at: each for at, each in self.certificates.items() if at <= height}

    def take_certificate(self, height: int, certificate: FinalityCertificate) -> None:
        if self.found is None or height >= self.found[0].header.height:
            self.certificates[height] = certificate


def _walk(
    folder: Path, trust: Trust, verify: Verify, reader: _Counted | _Search, on_block: OnProgress
) -> tuple[list[Manifest], ChainWalk]:
    manifests = read_manifests(folder)
    walk = ChainWalk(chain_of(manifests, trust), verify)
    entries = (entry for manifest in manifests for entry in manifest.segments)
    total = 1 + max((entry.blocks.last for entry in entries if entry.blocks is not None), default=0)

    def take(record: ArchivedRecord) -> None:
        if record.type is RecordType.BLOCK:
            reader.take(_take_block(walk, record, reader.forget))
            on_block(walk.height + 1, total)
        elif record.type is RecordType.CERTIFICATE:
            certificate = FinalityCertificate.decode(record.payload)
            walk.take_certificate(record.height, certificate)
            reader.take_certificate(record.height, certificate)

    for manifest in manifests:
        walk.learn(manifest.replica_sets)
        for entry in manifest.segments:
            with _naming(f"{entry.file} ({manifest.file})"):
                _walk_segment(folder / entry.file, entry, walk, take)
        with _naming(manifest.file):
            for height, certificate in manifest.certificates:
                walk.take_named(height, certificate)
                reader.take_certificate(height, certificate)
            if walk.certified != walk.height:
                raise invalid("certificates", f"that of height {walk.certified + 1} is missing")
    return manifests, walk


def _take_block(
    walk: ChainWalk, record: ArchivedRecord, on_restart: Callable[[int], None]
) -> ArchivedBlock:
    reader = Reader(record.payload)
    block = ArchivedBlock.read(reader)
    if walk.is_of_later_epoch(block.header):
        restarts = read_restarts(reader)
        walk.take_restarts(restarts)
        for restart in restarts:
            on_restart(restart.statement.height)
    walk.take_block(block)
    return block


def _walk_segment(
    path: Path, entry: SegmentEntry, walk: ChainWalk, take: Callable[[ArchivedRecord], None]
) -> None:
    walk.mark()
    with opened(path) as data:
        check_digest(entry, data)
        for record in records_of(data):
            take(record)
    if blocks_taken(walk) != entry.blocks:
        raise invalid(entry.file, "it holds other heights than its manifest says")


@contextmanager
def _naming(files: str) -> Iterator[None]:
    """Let a refusal name the files that it is about."""
    try:
        yield
    except MalformedError as error:
        raise invalid(files, str(error)) from error
    except ProofError as error:
        inner = "" if error.piece in files else f": {error.piece}"
        raise ProofError(files + inner, error.detail, error.code) from error


def blocks_taken(walk: ChainWalk) -> Blocks | None:
    """What a segment brought, where the walk was marked before it."""
    taken = walk.taken()
    if taken is None:
        return None
    first, last = taken
    return Blocks(first, last.height, last.hash())


def _certified(
    chain: ChainTrust, walk: ChainWalk, header: BlockHeader, certificate: FinalityCertificate
) -> CertifiedHeader:
    """With the set changes from the last epoch before it that the trust file knows."""
    known = max(point.epoch for point in chain.checkpoints if point.epoch <= header.epoch)
    changes = [each for each in walk.changes if known < each.replica_set.epoch <= header.epoch]
    first = changes[0].header if changes else header
    start = chain.checkpoint_of_epoch(known, first.height).replica_set
    return CertifiedHeader.build(start, header, certificate, changes)


def _bundle(block: ArchivedBlock, index: int, certified: CertifiedHeader) -> Bundle:
    receipt = Receipt.decode(block.receipts[index])
    return Bundle(
        transaction=SignedTransaction.decode(block.batch.transactions[index]),
        transaction_path=MerklePath.of(block.batch.transactions, index),
        receipt=receipt,
        receipt_path=MerklePath.of(block.receipts, index),
        certified=certified,
        packets=_packets(receipt),
        anchors=(),
    )


def _packets(receipt: Receipt) -> tuple[Packet, ...]:
    """The packets that a transaction sent, as its receipt holds them."""
    bodies = [json.loads(event.body) for event in receipt.events if event.topic == PACKET_SENT]
    return tuple(
        Packet(
            body["source"],
            body["destination"],
            body["port"],
            body["sequence"],
            canonical_json(body["payload"]),
            Terms.from_json(body),
        )
        for body in bodies
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise invalid(path.name, f"it cannot be read ({error.strerror})") from error


def _unasked(public_key: bytes, message: bytes, signature: bytes) -> bool:
    return True
