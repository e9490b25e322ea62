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
    replica_set: ReplicaSet,
    verify: Verify,
    refuse: Callable[[str], None],
) -> list[VerifiedBlock]:
    """The blocks from height `due` on, in order, up to the first gap or the first that does not
    hold; `refuse` is told why that one does not.
    """
    verified: list[VerifiedBlock] = []
    for message in response.blocks:
        try:
            height = BlockHeader.decode(message.certified_header.header).height
            if height < due:
                continue
            block = verify_block(message, replica_set, verify)
        except (ProofError, MalformedError) as error:
            refuse(str(error))
            break
        if height > due:
            break
        verified.append(block)
        due += 1
    return verified
