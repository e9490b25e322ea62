"""What a replica keeps that came to another header than a quorum certified; it stays halted by it.

A small file in the data folder, written once: a restart does not make such a replica vote again.
Only people, who have looked for the cause, take the folder away (design.md section 5, pbft.md C3).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.effects import Halt
from services.consensus.store.files import SYSTEM_FILES

FILE_NAME: Final = "divergence.json"

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
    """The file of one replica."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def keep(self, divergence: Divergence) -> None:
        """Write it durably; the first one stays. Where the disk is full the log alone says it."""
        if self.is_there:
            return
        try:
            SYSTEM_FILES.replace_durably(self._path, divergence.encode())
        except OSError as error:
            _log.critical("divergence.not_kept", path=str(self._path), why=str(error))

    @property
    def is_there(self) -> bool:
        """Whether the replica has diverged; whatever the file holds."""
        return self._path.exists()
