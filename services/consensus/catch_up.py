"""Requests for blocks: what is answered, and what of a peer's answer is believed: block by block,
each by its certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.quorum import ReplicaSet
from services.chassis.errors import UnavailableError
from services.consensus import wire

BLOCKS_ANSWERED_MAX: Final = 100
BLOCK_BYTES_ANSWERED_MAX: Final = 1024 * 1024
"""More at once brings no block sooner, and stands in memory as objects of many times its size."""


@dataclass(frozen=True, slots=True)
class CertifiedBatch:
    """What of a verified block waits to be executed: what follows from it is not kept beside it."""

    header: BlockHeader
    certificate: FinalityCertificate
    batch: Batch
    transaction_ids: tuple[bytes, ...]

    @classmethod
    def of(cls, block: VerifiedBlock) -> CertifiedBatch:
        """The part of `block` that is kept."""
        ids = tuple(each.id() for each in block.transactions)
        return cls(block.header, block.certificate, block.batch, ids)

    @property
    def height(self) -> int:
        """The block's height, at least 1."""
        return self.header.height


def blocks_answer(
    request: peer_pb2.BlockRequest,
    block_message: Callable[[int], ledger_pb2.Block | None],
    certified: int,
) -> bytes | None:
    """The frame with the blocks that are asked for, as many as are here in a row and one frame
    holds; None where the first of them is not here.
    """
    blocks: list[ledger_pb2.Block] = []
    size, first = 0, request.from_height
    for height in range(first, min(request.to_height, first + BLOCKS_ANSWERED_MAX - 1) + 1):
        try:
            block = block_message(height)
        except UnavailableError:
            break  # It is damaged here; the others have it.
        if block is None:
            break
        size += block.ByteSize()
        if blocks and size > BLOCK_BYTES_ANSWERED_MAX:
            break
        blocks.append(block)
    return wire.block_response_frame(blocks, certified) if blocks else None


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
