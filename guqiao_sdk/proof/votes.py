"""What a replica signs: a domain tag, chain id, epoch, type, view, sequence number and digest.

Every field that tells two statements apart is inside the signed bytes, so no vote can be replayed
in another phase, view, epoch or chain (reliability P12). Never re-serialised protobuf.
"""

from __future__ import annotations

from enum import IntEnum

from guqiao_sdk.proof.canonical import Writer


class VoteType(IntEnum):
    """The kinds of signed consensus statements. A number is never used twice."""

    PRE_PREPARE = 1
    PREPARE = 2
    COMMIT = 3
    CHECKPOINT = 4
    VIEW_CHANGE = 5
    NEW_VIEW = 6
    PEER = 7


def vote_sign_bytes(
    chain_id: str,
    epoch: int,
    vote_type: VoteType,
    view: int,
    sequence: int,
    digest: bytes,
    *,
    lineage: bytes = b"",
) -> bytes:
    """The bytes under a replica's signature.

    A checkpoint vote has view 0: certificates know no view. Behind a restart `lineage`, which the
    set carries, is signed, too.
    """
    writer = Writer().text("guqiao/vote/2" if lineage else "guqiao/vote/1")
    writer.raw(lineage).text(chain_id).u64(epoch).u8(vote_type)
    return bytes(writer.u64(view).u64(sequence).blob(digest))
