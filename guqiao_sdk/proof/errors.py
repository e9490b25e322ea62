"""The one refusal of the proof package: which piece failed, and why."""

from __future__ import annotations


class ProofError(Exception):
    """A proof, certificate, header or bundle that does not hold.

    `piece` names what failed (for example `finality certificate`), `detail` says why, `code` is the
    symbolic code of the rule catalogue.
    """

    def __init__(self, piece: str, detail: str, code: str = "PROOF_INVALID") -> None:
        super().__init__(f"{piece}: {detail}")
        self.piece = piece
        self.detail = detail
        self.code = code
