"""What of a source goes onto a chain: made and compared by whoever proposes or reviews it.

Replicas never compile a source (`deployment_form` says why), so nothing on the chain vouches for
it: reviewers do, by compiling it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.ir import ENGINE, Module
from services.consensus.domain.contracts.star.syntax import compile_source


@dataclass(frozen=True, slots=True)
class Code:
    """A checked form, which is what runs, and the text that it is said to come from."""

    module: Module
    source: str

    def to_json(self) -> dict[str, Json]:
        """As chains keep it; the form in its one spelling."""
        return {"engine": ENGINE, "ir": self.module.encoded.decode(), "source": self.source}


def code_of_source(source: bytes) -> Code:
    """The code that a source is; raises `SourceError`."""
    return Code(compile_source(source), source.decode())


def package(source: bytes) -> dict[str, Json]:
    """Engine, canonical form and source as `contracts` takes them; raises `SourceError`."""
    return code_of_source(source).to_json()


def is_of_source(source: str, digest: str) -> bool:
    """Whether a source compiles to the form with this digest; raises `SourceError`."""
    return code_of_source(source.encode()).module.digest.hex() == digest
