"""What of a source goes onto a chain: made and compared by whoever proposes or reviews it.

Replicas never compile a source (`deployment_form` says why), so nothing on the chain vouches for
it: reviewers do, by compiling it again.
"""

from __future__ import annotations

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.ir import ENGINE
from services.consensus.domain.contracts.star.syntax import compile_source


def package(source: bytes) -> dict[str, Json]:
    """Engine, canonical form and source as `contracts` takes them; raises `SourceError`."""
    module = compile_source(source)
    return {"engine": ENGINE, "ir": module.encoded.decode(), "source": source.decode()}


def is_of_source(source: str, digest: str) -> bool:
    """Whether a source compiles to the form with this digest; raises `SourceError`."""
    return compile_source(source.encode()).digest.hex() == digest
