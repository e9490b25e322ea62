"""What can be wrong with an archive: a piece that does not hold, or another folder altogether."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.errors import ProofError

ARCHIVE_INVALID: Final = "ARCHIVE_INVALID"


class NotAnArchiveError(ValueError):
    """The folder holds no manifest at all: the wrong folder, not a broken archive."""


def invalid(piece: str, detail: str) -> ProofError:
    """The refusal of one piece of an archive, to be raised."""
    return ProofError(piece, detail, ARCHIVE_INVALID)
