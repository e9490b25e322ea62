"""What a peer answers to a request for blocks: believed block by block, each by its certificate."""

from __future__ import annotations

from collections.abc import Callable

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.quorum import ReplicaSet


def verified_blocks(
    response: peer_pb2.BlockResponse,
    due: int,
    set_at: Callable[[int], ReplicaSet],
    verify: Verify,
    refuse: Callable[[str], None],
) -> list[VerifiedBlock]:
    """The blocks from height `due` on, in order, up to the first gap or the first that does not
    hold against the set of its height; `refuse` is told why that one does not.

    It ends before an epoch that is not known yet: a block before it decides the set, and what
    follows is asked for again after that one.
    """
    verified: list[VerifiedBlock] = []
    for message in response.blocks:
        try:
            header = BlockHeader.decode(message.certified_header.header)
            if header.height < due:
                continue
            replica_set = set_at(due)
            if header.epoch > replica_set.epoch:
                break
            block = verify_block(message, replica_set, verify)
        except (ProofError, MalformedError) as error:
            refuse(str(error))
            break
        if header.height > due:
            break
        verified.append(block)
        due += 1
    return verified
