"""What a replica keeps that came to another header than a quorum certified; it stays halted by it.

A small file in the data folder, written once: a restart does not make such a replica vote again.
Only people, who have looked for the cause, take the folder away (design.md section 5, pbft.md C3).
Its room is taken at the start, in a spare file: a disk that is full by then takes no part in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.effects import Halt
from services.consensus.store.errors import FatalStorageError
from services.consensus.store.files import FileOperations

FILE_NAME: Final = "divergence.json"
SPARE_NAME: Final = "divergence.spare"
SPARE_BYTES: Final = 64 * 1024
"""More than two headers and a certificate of a hundred signatures, in hex."""

_OVER: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Both sides, as far as they are known here: a quorum's votes name a header by its hash."""

    height: int
    reason: str
    own: BlockHeader | None = None
    own_hash: bytes = b""
    certified: BlockHeader | None = None
    certified_hash: bytes = b""
    certificate: FinalityCertificate | None = None

    def __str__(self) -> str:
        return f"block {self.height}: {self.reason}"

    def _json(self) -> Json:
        own_hash = self.own_hash if self.own is None else self.own.hash()
        certified_hash = self.certified_hash if self.certified is None else self.certified.hash()
        return {
            "height": self.height,
            "reason": self.reason,
            "own_hash": own_hash.hex(),
            "own_header": "" if self.own is None else self.own.encode().hex(),
            "certified_hash": certified_hash.hex(),
            "certified_header": "" if self.certified is None else self.certified.encode().hex(),
            "certificate": "" if self.certificate is None else self.certificate.encode().hex(),
        }

    def encode(self) -> bytes:
        """The file's content: JSON, headers and certificate in hex of their encodings."""
        return canonical_json(self._json())


def divergence_of(effect: Halt, stored: BlockHeader | None) -> Divergence:
    """What the core says, with the own header if it is the one that is `stored` at that height."""
    own_hash = effect.own_header_hash
    return Divergence(
        effect.sequence,
        effect.reason,
        stored if stored is not None and stored.hash() == own_hash else None,
        own_hash,
        certified_hash=effect.certified_header_hash,
        certificate=effect.certificate,
    )


class DivergenceFile:
    """The file of one replica. Raises `OSError` where there is no room for the spare file, and
    `FatalStorageError`.
    """

    def __init__(self, folder: Path, files: FileOperations) -> None:
        self._path = folder / FILE_NAME
        self._spare = folder / SPARE_NAME
        self._files = files
        if not self.is_there and not self._has_spare():
            self._files.replace_durably(self._spare, bytes(SPARE_BYTES))

    def keep(self, divergence: Divergence) -> None:
        """Keep it, durably; the first one stays. Written over the spare file, which then takes the
        name that counts: what cannot be written is in the log alone, and the replica stays halted.
        """
        if self.is_there:
            return
        try:
            self._write_over(divergence.encode())
        except OSError as error:
            _log.critical("divergence.not_kept", path=str(self._path), why=str(error))
        try:
            self._files.rename(self._spare, self._path)
            self._files.sync_folder(self._path.parent)
        except OSError as error:
            raise FatalStorageError(f"naming {FILE_NAME}", str(error)) from error

    @property
    def is_there(self) -> bool:
        """Whether the replica has diverged; whatever the file holds."""
        return self._path.exists()

    def _has_spare(self) -> bool:
        return self._spare.exists() and self._spare.stat().st_size >= SPARE_BYTES

    def _write_over(self, data: bytes) -> None:
        """In place, where the room is; then cut to its length."""
        descriptor = self._files.open(self._spare, _OVER, 0o600)
        try:
            self._files.write_all(descriptor, data)
            self._files.truncate(descriptor, len(data))
            self._files.fsync(descriptor)
        finally:
            os.close(descriptor)
