"""The manifest of an archive: which segments were added in one step, and what they hold.

Canonical JSON, one byte string a value. Each names the one before it by digest, so that none can be
left out, exchanged or put elsewhere without notice. It is written last: segments that no manifest
names are not yet part of the archive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Final

from guqiao_sdk.archive.errors import invalid
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import HASH_BYTES, FinalityCertificate
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.members import MemberReader
from guqiao_sdk.proof.quorum import REPLICAS_MAX, ReplicaSet

FORMAT: Final = "guqiao-archive/1"
MANIFEST_BYTES_MAX: Final = 32 * 1024 * 1024
SEGMENTS_MAX: Final = 256
"""Segments of one manifest: 16 GiB; what is more goes into the next one."""
SETS_MAX: Final = 1_024
CERTIFICATES_MAX: Final = 4_096

_NAME: Final = "guqiao-archive-{:08d}.json"
_NAMED: Final = re.compile(r"guqiao-archive-([0-9]{8})\.json")
_DEPTH_MAX: Final = 4
_CHAIN_ID_BYTES_MAX: Final = 64
_NUMBER_MAX: Final = 10**8 - 1


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of one segment: heights without a gap, and the hash of the last one's header."""

    first: int
    last: int
    last_header_hash: bytes


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment file. `blocks` is None where it holds votes alone."""

    number: int
    size: int
    sm3: bytes
    blocks: Blocks | None

    @property
    def file(self) -> str:
        """The file's name."""
        return segment_name(self.number)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One step of an archive, numbered from 1; `previous` is the digest of the one before.

    `replica_sets` are those that blocks here scheduled: each is believed when a certified header
    names it. `certificates` are of the last heights here, whose own records stand in the next
    segment: without them the archive would not prove these blocks by itself.
    """

    number: int
    previous: bytes | None
    chain_id: str
    genesis_hash: bytes
    replica: int | None
    segments: tuple[SegmentEntry, ...]
    replica_sets: tuple[ReplicaSet, ...]
    certificates: tuple[tuple[int, FinalityCertificate], ...]

    @property
    def file(self) -> str:
        """The file's name."""
        return _NAME.format(self.number)

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical_json(
            {
                "format": FORMAT,
                "number": self.number,
                "previous": None if self.previous is None else self.previous.hex(),
                "chain_id": self.chain_id,
                "genesis_hash": self.genesis_hash.hex(),
                "replica": self.replica,
                "segments": [_entry_to_json(entry) for entry in self.segments],
                "replica_sets": [each.encode().hex() for each in self.replica_sets],
                "certificates": [
                    {"height": height, "certificate": certificate.encode().hex()}
                    for height, certificate in self.certificates
                ],
            }
        )

    def digest(self) -> bytes:
        """What the next manifest names this one by, and a receipt for whoever keeps it."""
        return sm3(self.encode())


def manifest_number(name: str) -> int | None:
    """The number in a manifest's file name; None for any other file."""
    found = _NAMED.fullmatch(name)
    return None if found is None else int(found[1])


def manifest_name(number: int) -> str:
    """The file name of a manifest."""
    return _NAME.format(number)


def segment_name(number: int) -> str:
    """The file name of a segment, in an archive as in a data folder."""
    return f"{number:08d}.seg"


def parse_manifest(data: bytes, name: str = "manifest") -> Manifest:
    """Read a manifest strictly, or raise `ProofError` that names it."""
    try:
        value = parse_json_strict(data, depth_max=_DEPTH_MAX, size_max=MANIFEST_BYTES_MAX)
        manifest = _Reader(name).manifest(value)
    except (JsonError, MalformedError) as error:
        raise invalid(name, str(error)) from error
    if manifest.encode() != data:
        raise invalid(name, "it is not written as a manifest is")
    return manifest


def check_follows(manifest: Manifest, before: Manifest | None) -> None:
    """Raise `ProofError` unless this manifest follows that one directly (None: is the first)."""
    name, number = manifest.file, 1 if before is None else before.number + 1
    if manifest.number != number:
        raise invalid(name, f"it says that it is number {manifest.number}, number {number} is due")
    if manifest.previous != (None if before is None else before.digest()):
        raise invalid(name, "it does not follow the manifest before it")
    if before is not None and _network(manifest) != _network(before):
        raise invalid(name, "it is of another chain or replica than the one before it")
    due = 1 if before is None else before.segments[-1].number + 1
    for entry in manifest.segments:
        if entry.number != due:
            raise invalid(name, f"it lists {entry.file}, {segment_name(due)} is due")
        due += 1


def _network(manifest: Manifest) -> tuple[str, bytes, int | None]:
    return manifest.chain_id, manifest.genesis_hash, manifest.replica


def _entry_to_json(entry: SegmentEntry) -> dict[str, Json]:
    blocks = entry.blocks
    return {
        "file": entry.file,
        "bytes": entry.size,
        "sm3": entry.sm3.hex(),
        "first_height": None if blocks is None else blocks.first,
        "last_height": None if blocks is None else blocks.last,
        "last_header_hash": None if blocks is None else blocks.last_header_hash.hex(),
    }


class _Reader:
    """Reads the members of the manifest `name`."""

    def __init__(self, name: str) -> None:
        self._refusal = partial(invalid, name)
        self._read = MemberReader(self._refusal)

    def manifest(self, value: Json) -> Manifest:
        """The whole of it."""
        members = self._read.members(
            value,
            "the file",
            "format number previous chain_id genesis_hash replica segments replica_sets"
            " certificates",
        )
        if members["format"] != FORMAT:
            raise self._refusal(f"its format is not {FORMAT}")
        number = self._read.natural(members["number"], "number")
        if not 1 <= number <= _NUMBER_MAX:
            raise self._refusal("its number is out of range")
        previous, replica = members["previous"], members["replica"]
        return Manifest(
            number=number,
            previous=None if previous is None else self._read.hex(previous, "previous", HASH_BYTES),
            chain_id=self._read.text(members["chain_id"], "chain_id", _CHAIN_ID_BYTES_MAX),
            genesis_hash=self._read.hex(members["genesis_hash"], "genesis_hash", HASH_BYTES),
            replica=None if replica is None else self._replica(replica),
            segments=tuple(
                self._entry(entry)
                for entry in self._read.array(members["segments"], "segments", SEGMENTS_MAX)
            ),
            replica_sets=tuple(
                ReplicaSet.decode(self._read.hex(each, "replica_sets"))
                for each in self._read.array(
                    members["replica_sets"], "replica_sets", SETS_MAX, least=0
                )
            ),
            certificates=tuple(
                self._certificate(each)
                for each in self._read.array(
                    members["certificates"], "certificates", CERTIFICATES_MAX, least=0
                )
            ),
        )

    def _entry(self, value: Json) -> SegmentEntry:
        members = self._read.members(
            value, "a segment", "file bytes sm3 first_height last_height last_header_hash"
        )
        file, number = members["file"], 0
        if isinstance(file, str) and re.fullmatch(r"[0-9]{8}\.seg", file):
            number = int(file[:8])
        if number < 1:
            raise self._refusal("a segment's file is not named by its number")
        blocks = None
        if members["first_height"] is not None:
            blocks = Blocks(
                self._read.natural(members["first_height"], "first_height"),
                self._read.natural(members["last_height"], "last_height"),
                self._read.hex(members["last_header_hash"], "last_header_hash", HASH_BYTES),
            )
        return SegmentEntry(
            number,
            self._read.natural(members["bytes"], "bytes"),
            self._read.hex(members["sm3"], "sm3", HASH_BYTES),
            blocks,
        )

    def _certificate(self, value: Json) -> tuple[int, FinalityCertificate]:
        members = self._read.members(value, "a certificate", "height certificate")
        encoded = self._read.hex(members["certificate"], "certificate")
        return self._read.natural(members["height"], "height"), FinalityCertificate.decode(encoded)

    def _replica(self, value: Json) -> int:
        number = self._read.natural(value, "replica")
        if number >= REPLICAS_MAX:
            raise self._refusal(f"replica is not below {REPLICAS_MAX}")
        return number
