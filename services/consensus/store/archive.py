"""Sealed segments put into an archive, removed from the data folder, and brought back.

A segment is sealed when a later one was begun: it is never written again, so those of a
running replica can be copied. What is copied is judged like an archive is: nothing is listed that
does not verify.
Files first, the manifest last: a crash between two steps leaves what the next run takes up.

Removed means: a link to the archive's file stands where the segment was. The replica reads through
it, so nobody who is catching up misses anything, and where the archive is away it can say which
file is wanted. Docs: docs/protocol/archive.md.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guqiao_sdk.archive.chain import ChainWalk
from guqiao_sdk.archive.errors import NotAnArchiveError, invalid
from guqiao_sdk.archive.folder import (
    OnProgress,
    blocks_taken,
    check_digest,
    opened,
    read_manifests,
    untold,
)
from guqiao_sdk.archive.manifest import (
    SEGMENTS_MAX,
    Manifest,
    SegmentEntry,
    segment_name,
)
from guqiao_sdk.archive.records import ArchivedBlock, Data, RecordType, records_of
from guqiao_sdk.files import make_folder
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError, Reader
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint
from services.consensus.domain.contracts.replica_sets import written_restarts, written_sets
from services.consensus.domain.ledger.genesis import Genesis, genesis_header
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.core_log import began_at
from services.consensus.store.errors import (
    ArchiveConflictError,
    ArchiveInUseError,
    DamagedSegmentError,
    FatalStorageError,
    OtherNetworkError,
    SegmentArchivedError,
    raise_if_full,
)
from services.consensus.store.files import SYSTEM_FILES, FileOperations
from services.consensus.store.folder import DataFolder, Identity, Owner, read_identity
from services.consensus.store.segment import Damage, Position, Record, parse_record

AHEAD_SEGMENTS_MAX: Final = 8
"""How far behind a segment the certificates of its last blocks are looked for."""

_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Step:
    """What one command did: the segments it added, removed or brought back, and where it ends.

    `height` is the last one in the archive, `manifest_digest` names the whole of it; both are None
    where nothing is sealed yet.
    """

    segments: tuple[str, ...]
    height: int | None
    manifest_digest: bytes | None
    kept: int = 0
    """Segments that are in the archive and may not be removed yet."""


def add_sealed_segments(
    data: Path,
    archive: Path,
    genesis: Genesis,
    verify: Verify,
    *,
    on_segment: OnProgress = untold,
    files: FileOperations = SYSTEM_FILES,
) -> Step:
    """Copy every segment that is sealed, whole and certified into the archive. The replica may run.

    Raises `OtherNetworkError`, `DamagedSegmentError` for a segment that does not read back as
    written, and `ProofError` where the archive or what would go into it does not hold.
    """
    identity = read_identity(data, genesis)
    if data.resolve() in (archive.resolve(), *archive.resolve().parents):
        raise ArchiveConflictError(archive, f"it lies in the data folder {data}")
    make_folder(archive)
    with _locked(archive):
        manifests = _manifests(archive, genesis, identity.replica)
        source = _Source(data / "segments", identity.salt)
        added: list[str] = []
        before = _last_number(manifests)

        def judged(number: int) -> None:
            on_segment(number - before, source.open_number - 1 - before)

        while True:
            last = manifests[-1] if manifests else None
            walk = _resume(archive, manifests, genesis, verify)
            manifest = _next_manifest(source, walk, last, genesis, identity.replica, judged)
            if manifest is None:
                break
            for entry in manifest.segments:
                _copy(source.path(entry.number), archive, entry, files)
            files.sync_folder(archive)
            files.replace_durably(archive / manifest.file, manifest.encode())
            manifests.append(manifest)
            added += [entry.file for entry in manifest.segments]
        return _step(added, manifests)


def remove_archived_segments(
    data: Path,
    archive: Path,
    genesis: Genesis,
    *,
    on_segment: OnProgress = untold,
    files: FileOperations = SYSTEM_FILES,
) -> Step:
    """Put a link to the archive in the place of every archived segment whose votes are void.

    The replica must be stopped: `DataFolderInUseError`. Each file of the archive is read again
    before: raises `ProofError` where one does not hold.
    """
    identity = read_identity(data, genesis)
    with _stopped(data, genesis, identity, files) as folder:
        manifests = _manifests(archive, genesis, identity.replica)
        source = _Source(folder.segments, folder.salt)
        below = source.last_compaction()
        removed: list[str] = []
        kept = 0
        for entry in _telling(_entries(manifests), on_segment):
            path = source.path(entry.number)
            if path.is_symlink() and path.resolve() == (archive / entry.file).resolve():
                continue
            if entry.number >= below:
                kept += 1
                continue
            _check_file(archive, entry)
            if not path.is_symlink():
                _check_same(path, entry)
                _check_is_other(path, archive / entry.file)
            _link(path, archive / entry.file, files)
            removed.append(entry.file)
        return _step(removed, manifests, kept)


def restore_archived_segments(
    data: Path,
    archive: Path,
    genesis: Genesis,
    *,
    on_segment: OnProgress = untold,
    files: FileOperations = SYSTEM_FILES,
) -> Step:
    """Bring every archived segment back that is a link or missing. The replica must be stopped.

    Raises `ArchiveConflictError` where another file stands in its place: nothing is overwritten.
    """
    identity = read_identity(data, genesis)
    with _stopped(data, genesis, identity, files) as folder:
        manifests = _manifests(archive, genesis, identity.replica)
        source = _Source(folder.segments, folder.salt)
        restored: list[str] = []
        for entry in _telling(_entries(manifests), on_segment):
            path = source.path(entry.number)
            if path.exists() and not path.is_symlink():
                _check_same(path, entry)
                continue
            source.check_is_of_folder(archive / entry.file)
            _copy(archive / entry.file, folder.segments, entry, files)
            files.sync_folder(folder.segments)
            restored.append(entry.file)
        return _step(restored, manifests)


# --- What goes into a manifest ------------------------------------------------------------------


class _Source:
    """The segments of a data folder, read with its salt."""

    def __init__(self, folder: Path, salt: int) -> None:
        self._folder = folder
        self._salt = salt
        numbers = sorted(int(path.stem) for path in folder.glob("*.seg"))
        self.open_number = numbers[-1] if numbers else 0
        """The one that is still written, or will be."""

    def path(self, number: int) -> Path:
        """Where the segment stands."""
        return self._folder / segment_name(number)

    def records(self, number: int, data: Data, *, torn: bool = False) -> Iterator[Record]:
        """Every record of a segment; `torn`: up to the first one that is not whole."""
        offset = 0
        while offset < len(data):
            item = parse_record(data, offset, Position(number, offset), self._salt)
            if isinstance(item, Damage):
                if torn:
                    return
                raise DamagedSegmentError(segment_name(number), offset)
            yield item
            offset = item.end.offset

    def check_is_of_folder(self, path: Path) -> None:
        """Raise `ArchiveConflictError` where a segment was written by another folder."""
        with opened(path) as data:
            if data and isinstance(parse_record(data, 0, Position(1, 0), self._salt), Damage):
                raise ArchiveConflictError(path, "it was written by another data folder")

    def last_compaction(self) -> int:
        """The segment where the last compaction of votes begins: votes in earlier ones are void."""
        for number in range(self.open_number, 0, -1):
            path = self.path(number)
            if path.is_symlink():
                break
            with opened(path) as data:
                records = self.records(number, data, torn=number == self.open_number)
                for record in records:
                    if record.type is RecordType.CORE_COMPACTED:
                        return began_at(record).segment
        return 0


@dataclass(slots=True)
class _Draft:
    """A manifest in the making. `complete` is what of it holds by itself: how many of the entries
    and sets, and the certificates that stand behind them.
    """

    entries: list[SegmentEntry] = field(default_factory=list)
    sets: dict[bytes, ReplicaSet] = field(default_factory=dict)
    complete: tuple[int, int, tuple[tuple[int, FinalityCertificate], ...]] | None = None


def _next_manifest(
    source: _Source,
    walk: ChainWalk,
    last: Manifest | None,
    genesis: Genesis,
    replica: int | None,
    judged: Callable[[int], None],
) -> Manifest | None:
    """The manifest of the segments that can be added now; None where there is nothing to add."""
    first = 1 if last is None else last.segments[-1].number + 1
    draft = _Draft()
    for number in range(first, min(source.open_number, first + SEGMENTS_MAX)):
        draft.entries.append(_take_segment(source, number, walk, draft.sets))
        judged(number)
        ahead = _certificates_ahead(source, number + 1, walk)
        if ahead is not None:
            draft.complete = len(draft.entries), len(draft.sets), ahead
    if draft.complete is None:
        return None
    segments, sets, certificates = draft.complete
    return Manifest(
        number=1 if last is None else last.number + 1,
        previous=None if last is None else last.digest(),
        chain_id=genesis.chain_id,
        genesis_hash=genesis.hash(),
        replica=replica,
        segments=tuple(draft.entries[:segments]),
        replica_sets=tuple(draft.sets.values())[:sets],
        certificates=certificates,
    )


def _take_segment(
    source: _Source, number: int, walk: ChainWalk, sets: dict[bytes, ReplicaSet]
) -> SegmentEntry:
    walk.mark()
    with _sealed(source, number) as data:
        for record in source.records(number, data):
            if record.type is RecordType.BLOCK:
                block = StoredBlock.decode(record.payload)
                new = written_sets(block.write_set)
                sets.update((each.hash(), each) for each in new)
                walk.learn(new)
                archived = ArchivedBlock(block.header, block.batch, block.receipts)
                if walk.is_of_later_epoch(block.header):
                    walk.take_restarts(written_restarts(block.write_set))
                walk.take_block(archived)
            elif record.type is RecordType.CERTIFICATE:
                certificate = FinalityCertificate.decode(record.payload)
                walk.take_certificate(record.height, certificate)
            elif record.type is RecordType.SNAPSHOT:
                why = "this replica took the state of a later height, archive one with every block"
                raise ArchiveConflictError(source.path(number), why)
        return SegmentEntry(number, len(data), sm3(data[:]), blocks_taken(walk))


def _certificates_ahead(
    source: _Source, number: int, walk: ChainWalk
) -> tuple[tuple[int, FinalityCertificate], ...] | None:
    """The certificates that blocks up to here lack, from the segments behind; None where they are
    not there yet.
    """
    wanted = walk.uncertified()
    found: dict[int, FinalityCertificate] = {}
    for each in range(number, min(source.open_number, number + AHEAD_SEGMENTS_MAX - 1) + 1):
        if len(found) == len(wanted):
            break
        with _sealed(source, each) as data:
            for record in source.records(each, data, torn=each == source.open_number):
                if record.type is RecordType.CERTIFICATE and record.height in wanted:
                    certificate = FinalityCertificate.decode(record.payload)
                    if certificate.header_hash == wanted[record.height]:
                        found[record.height] = certificate
    if len(found) < len(wanted):
        return None
    certificates = tuple(sorted(found.items()))
    for height, certificate in certificates:
        walk.take_named(height, certificate)
    return certificates


@contextmanager
def _sealed(source: _Source, number: int) -> Iterator[Data]:
    """A segment's content; of the one that is still written, what is there now."""
    path = source.path(number)
    if number == source.open_number:
        yield path.read_bytes()  # A map of it would fall if a start cut its torn tail.
        return
    if not path.exists():
        if path.is_symlink():
            raise SegmentArchivedError(path)
        raise DamagedSegmentError(path.name, 0)
    with opened(path) as data:
        yield data


def _resume(
    archive: Path, manifests: Sequence[Manifest], genesis: Genesis, verify: Verify
) -> ChainWalk:
    """Go on behind what is in the archive."""
    point = Checkpoint(genesis.epoch, 0, genesis_header(genesis).hash(), genesis.replica_set)
    authorities = genesis.restart_authorities
    trust = ChainTrust(genesis.chain_id, genesis.hash(), (point,), authorities)
    if not manifests:
        return ChainWalk(trust, verify)
    return ChainWalk.resume(
        trust,
        verify,
        _last_header(archive, _entries(manifests)),
        [each for manifest in manifests for each in manifest.replica_sets],
        {height: each for manifest in manifests for height, each in manifest.certificates},
    )


def _last_header(archive: Path, entries: Sequence[SegmentEntry]) -> BlockHeader:
    entry = next(entry for entry in reversed(entries) if entry.blocks is not None)
    header = None
    with opened(archive / entry.file) as data:
        check_digest(entry, data)
        try:
            for record in records_of(data):
                if record.type is RecordType.BLOCK:
                    header = ArchivedBlock.read(Reader(record.payload)).header
        except MalformedError as error:
            raise invalid(entry.file, str(error)) from error
    if header is None or entry.blocks is None or header.hash() != entry.blocks.last_header_hash:
        raise invalid(entry.file, "its last block is not the one in its manifest")
    return header


def _entries(manifests: Sequence[Manifest]) -> list[SegmentEntry]:
    return [entry for manifest in manifests for entry in manifest.segments]


def _last_number(manifests: Sequence[Manifest]) -> int:
    return manifests[-1].segments[-1].number if manifests else 0


def _telling(entries: list[SegmentEntry], on_segment: OnProgress) -> Iterator[SegmentEntry]:
    for done, entry in enumerate(entries):
        on_segment(done, len(entries))
        yield entry


def _manifests(archive: Path, genesis: Genesis, replica: int | None) -> list[Manifest]:
    """The archive's manifests, none for a new one; raises `OtherNetworkError`."""
    try:
        found = read_manifests(archive)
    except NotAnArchiveError:
        return []
    first = found[0]
    expected = Owner(genesis.chain_id, genesis.hash(), replica)
    owner = Owner(first.chain_id, first.genesis_hash, first.replica)
    if owner != expected:
        raise OtherNetworkError(archive, found=str(owner), expected=str(expected))
    return found


def _step(done: list[str], manifests: Sequence[Manifest], kept: int = 0) -> Step:
    heights = [entry.blocks.last for entry in _entries(manifests) if entry.blocks is not None]
    digest = manifests[-1].digest() if manifests else None
    return Step(tuple(done), heights[-1] if heights else None, digest, kept)


# --- Files --------------------------------------------------------------------------------------


@contextmanager
def _locked(archive: Path) -> Iterator[None]:
    """One writer at a time."""
    descriptor = os.open(archive / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveInUseError(archive) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _stopped(
    data: Path, genesis: Genesis, identity: Identity, files: FileOperations
) -> Iterator[DataFolder]:
    """The data folder, while no replica has it open."""
    folder = DataFolder(data, genesis, identity.replica, files)
    try:
        yield folder
    finally:
        folder.release()


def _copy(source: Path, folder: Path, entry: SegmentEntry, files: FileOperations) -> None:
    """Put a segment's copy in place, durably, and read it back. One that is there stays."""
    target = folder / entry.file
    if _is_there(target, entry):
        return
    temporary = target.with_name(target.name + ".new")
    with opened(source) as data:
        check_digest(entry, data)
        try:
            temporary.unlink(missing_ok=True)
            descriptor = files.open(temporary, _FRESH, 0o600)
            try:
                files.write_all(descriptor, data[:])
                files.fsync(descriptor)
            finally:
                os.close(descriptor)
            files.rename(temporary, target)
        except OSError as error:
            raise_if_full(error)
            raise FatalStorageError(f"copying {entry.file}", str(error)) from error
    _check_file(folder, entry)


def _is_there(path: Path, entry: SegmentEntry) -> bool:
    if path.is_symlink() or not path.exists():
        return False
    with opened(path) as data:
        return len(data) == entry.size and sm3(data[:]) == entry.sm3


def _check_file(folder: Path, entry: SegmentEntry) -> None:
    with opened(folder / entry.file) as data:
        check_digest(entry, data)


def _check_same(path: Path, entry: SegmentEntry) -> None:
    if not _is_there(path, entry):
        raise ArchiveConflictError(path, "it is not the file that the archive holds")


def _check_is_other(path: Path, copy: Path) -> None:
    if path.samefile(copy):
        raise ArchiveConflictError(path, "the archive holds this very file and no copy")


def _link(path: Path, target: Path, files: FileOperations) -> None:
    """Put a link in a segment's place in one step: at any moment one of the two is there."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target.resolve())
        files.rename(temporary, path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise_if_full(error)
        raise FatalStorageError(f"linking {path.name}", str(error)) from error
