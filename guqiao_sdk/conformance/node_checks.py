"""The checks of one node: each asks, and judges the answer by the chain's own proofs.

A check raises `NonConformityError`, `ProofError` or the call's `GuqiaoError`; `suite` makes a
finding of it. The replica set is the caller's own, followed from what it trusts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from guqiao.consensus.v1 import node_service_pb2 as message
from guqiao_sdk.client.blocks import VerifiedBlock, check_link, verify_block, verify_header
from guqiao_sdk.client.proven import (
    ProvenTransaction,
    check_height,
    verify_state,
    verify_transaction,
)
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.conformance.findings import (
    Check,
    NonConformityError,
    NotCheckedError,
    require,
)
from guqiao_sdk.conformance.port import Node, Subject
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.data_object import object_named
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome

BLOCK_BYTES_MAX: Final = 16 * 1024 * 1024
"""JR/T 0314: 16 MB."""
GENESIS_KEY: Final = b"ledger/genesis"
"""Under which every state keeps the genesis hash."""
ABSENT_KEY: Final = b"conformance/absent"
BEYOND_HEIGHTS: Final = 1_000_000
"""No chain grows by so many blocks while it is examined."""
TRANSACTIONS_ASKED_MAX: Final = 4
SET_CHANGES_ASKED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Samples:
    """The heights that all nodes are asked about: the common one, one of a block with transactions
    and one of a block with data objects; 0 where none was found, among `looked` heights.
    """

    common: int
    transactions: int
    objects: int
    looked: int


@dataclass(slots=True)
class Examined:
    """One node, and what of it was proven so far."""

    url: str
    replica: int
    rpc: Node
    subject: Subject
    verify: Verify
    history: SetHistory = field(init=False)
    status: message.GetNetworkStatusResponse | None = None
    head: BlockHeader | None = None
    """The certified header at the height that the status names, once the status was proven."""
    options: message.GetNetworkOptionsResponse | None = None
    blocks: dict[int, VerifiedBlock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history = SetHistory(self.subject.trust, self.verify)

    async def set_of(self, encoded_header: bytes) -> ReplicaSet:
        """The set that must have certified this header, or `ProofError`."""
        try:
            header = BlockHeader.decode(encoded_header)
        except MalformedError as error:
            raise ProofError("certified header", str(error)) from error
        for _ in range(SET_CHANGES_ASKED_MAX):
            epoch = self.history.epoch
            if header.epoch <= epoch:
                break
            self.history.learn((await self.rpc.list_set_changes(epoch)).set_changes)
            if self.history.epoch == epoch:
                break
        return self.history.set_of(header)

    async def header(
        self, height: int
    ) -> tuple[BlockHeader, FinalityCertificate, message.GetConsensusStateResponse]:
        """The certified header of a height, verified, and the answer that brought it."""
        answer = await self.rpc.get_consensus_state(height)
        replica_set = await self.set_of(answer.certified_header.header)
        header, certificate = verify_header(answer.certified_header, replica_set, self.verify)
        check_height("consensus state", header, height)
        return header, certificate, answer

    async def block(self, height: int) -> VerifiedBlock:
        """The block of a height, verified whole; asked for once."""
        if height not in self.blocks:
            answer = await self.rpc.get_block(height)
            replica_set = await self.set_of(answer.block.certified_header.header)
            block = verify_block(answer.block, replica_set, self.verify)
            check_height("block", block.header, height)
            self.blocks[height] = block
        return self.blocks[height]

    async def transaction(self, transaction_id: bytes) -> ProvenTransaction:
        """A transaction with its receipt, both proven."""
        answer = await self.rpc.get_transaction(transaction_id)
        replica_set = await self.set_of(answer.certified_header.header)
        proven = verify_transaction(answer, replica_set, self.verify)
        require("transaction.id", proven.transaction.id(), transaction_id)
        return proven

    async def state(self, key: bytes, height: int) -> bytes | None:
        """What stands under a key at a height, proven either way."""
        answer = await self.rpc.get_state_proof(key, height)
        replica_set = await self.set_of(answer.certified_header.header)
        return verify_state(answer, key, height, replica_set, self.verify).value


# --- Where it stands, and what it speaks ----------------------------------------------------------


async def check_status(node: Examined) -> None:
    """What the node says of itself is what the certified header of that height says."""
    status = node.status
    assert status is not None, "the link was checked before"
    require("status.chain_id", status.chain_id, node.subject.trust.chain_id)
    require("status.replica", status.replica, node.replica)
    if status.height < 1:
        raise NonConformityError(
            "CONFORMANCE_ANSWER_WRONG", what="status.height", found=status.height, expected="≥ 1"
        )
    header, _, _ = await node.header(status.height)
    for name in ("state_root", "block_time_ms"):
        require(f"status.{name}", getattr(status, name), getattr(header, name))
    require("status.header_hash", status.header_hash, header.hash())
    require("status.executed_height ≥ height", status.executed_height >= status.height, True)
    for name in ("catching_up", "restoring"):
        require(f"status.{name}", getattr(status, name), False)
    require("status.damaged_blocks", status.damaged_blocks, 0)
    members = (await node.set_of(header.encode())).members
    expected = {each.replica: each.entity_name for each in members if each.replica != node.replica}
    require("status.peers", {each.replica: each.entity_name for each in status.peers}, expected)
    require("status.peers (number)", len(status.peers), len(expected))
    node.head = header


async def check_networks(node: Examined) -> None:
    """The chain comes first, then its sub-networks as they are registered, none twice."""
    told = list((await node.rpc.list_networks()).chain_ids)
    require("networks[0]", told[0] if told else "", node.subject.trust.chain_id)
    require("networks (distinct)", len(set(told)), len(told))
    if node.subject.sub_networks is not None:
        require("sub_networks", sorted(told[1:]), sorted(node.subject.sub_networks))


async def check_options(node: Examined) -> None:
    """Version, operations and outcomes are told; cryptography and genesis are the registered."""
    options = await node.rpc.get_network_options()
    require("options.software_version (stated)", bool(options.software_version), True)
    operations = list(options.operations)
    require("options.operations (stated)", bool(operations), True)
    require("options.operations (ascending)", operations == sorted(set(operations)), True)
    require("options.outcomes", sorted(options.outcomes), sorted(each.name for each in Outcome))
    require("options.crypto_suite", options.crypto_suite, node.subject.crypto_suite)
    require("options.genesis_hash", options.genesis_hash, node.subject.trust.genesis_hash)
    node.options = options


async def check_block_size(node: Examined, samples: Samples) -> None:
    """The node states how large a block can become, at most 16 MB, and the blocks keep to it."""
    if node.options is None:
        raise NotCheckedError("CONFORMANCE_DEPENDS", needed=Check.OPTIONS)
    stated = node.options.block_bytes_max
    if not 1 <= stated <= BLOCK_BYTES_MAX:
        raise NonConformityError(
            "CONFORMANCE_ANSWER_WRONG",
            what="options.block_bytes_max",
            found=stated,
            expected=f"1 … {BLOCK_BYTES_MAX}",
        )
    for height in sorted({samples.common, samples.transactions, samples.objects} - {0}):
        size = (await node.block(height)).message.ByteSize()
        if size > stated:
            raise NonConformityError(
                "CONFORMANCE_ANSWER_WRONG",
                what=f"block {height} (bytes)",
                found=size,
                expected=f"≤ {stated}",
            )


# --- Headers and blocks ---------------------------------------------------------------------------


async def check_consensus_state(node: Examined, samples: Samples) -> None:
    """Header, certificate and the whole set that signed, at the latest height and below it."""
    for height in sorted({samples.common, max(samples.common - 1, 1)}):
        header, _, answer = await node.header(height)
        expected = await node.set_of(header.encode())
        require(f"replica_set at {height}", answer.replica_set, expected.encode())


async def check_block(node: Examined, samples: Samples) -> None:
    """A block hangs together and follows the one before it."""
    block = await node.block(samples.common)
    header, _, _ = await node.header(samples.common)
    require("block.header_hash", block.header.hash(), header.hash())
    if samples.common > 1:
        earlier, _, _ = await node.header(samples.common - 1)
        check_link(earlier, block.header)


async def check_history(node: Examined, samples: Samples) -> None:
    """A full node has the chain from its first block on."""
    first = await node.block(1)
    await node.header(max(samples.common // 2, 1))
    require("block 1 (height)", first.height, 1)


# --- Transactions and objects ---------------------------------------------------------------------


async def check_transaction(node: Examined, samples: Samples) -> None:
    """Transactions of a block come with their receipts and the proofs of both."""
    if not samples.transactions:
        raise NotCheckedError("CONFORMANCE_NO_SAMPLE", wanted="TRANSACTION", looked=samples.looked)
    block = await node.block(samples.transactions)
    if not block.transactions:
        raise NotCheckedError("CONFORMANCE_NO_SAMPLE", wanted="TRANSACTION", looked=samples.looked)
    places = list(enumerate(block.transactions))
    for index, transaction in (*places[: TRANSACTIONS_ASKED_MAX - 1], places[-1]):
        proven = await node.transaction(transaction.id())
        place = (proven.header.hash(), proven.result.index)
        require("transaction.place", place, (block.header.hash(), index))
        require("transaction.receipt", proven.receipt.encode(), block.receipts[index].encode())


async def check_objects(node: Examined, samples: Samples) -> None:
    """The list of a block's data objects is the one that its certified receipts give."""
    expected = await _objects_in_block(node, samples)
    told = (await node.rpc.list_objects(samples.objects)).objects
    found = [(each.object_id, each.version, each.transaction_id) for each in told]
    require("objects", found, expected)
    require("objects (height)", {each.height for each in told}, {samples.objects})


async def check_object(node: Examined, samples: Samples) -> None:
    """A data object is what a certified receipt records, or what stands in the proven state."""
    object_id, version, transaction_id = (await _objects_in_block(node, samples))[-1]
    answer = await node.rpc.get_object(object_id, version)
    reference = answer.reference
    require("object.reference", (reference.object_id, reference.version), (object_id, version))
    require("object.transaction_id", reference.transaction_id, transaction_id)
    require("object.height", reference.height, samples.objects)
    proven = await node.transaction(transaction_id)
    require("object.transaction (height)", proven.header.height, samples.objects)
    recorded = [
        each.body for each in proven.receipt.events if object_named(each) == (object_id, version)
    ]
    if answer.record in recorded:
        return
    key = f"objects/{object_id}/{version}".encode()
    require("object.record", answer.record, await node.state(key, samples.common))


async def _objects_in_block(node: Examined, samples: Samples) -> list[tuple[str, int, bytes]]:
    """Id, version and transaction of each object of the sample, by its certified receipts."""
    if not samples.objects:
        raise NotCheckedError("CONFORMANCE_NO_SAMPLE", wanted="OBJECT", looked=samples.looked)
    block = await node.block(samples.objects)
    found = [
        (*named, receipt.transaction_id)
        for receipt in block.receipts
        for event in receipt.events
        if (named := object_named(event)) is not None
    ]
    if not found:
        raise NotCheckedError("CONFORMANCE_NO_SAMPLE", wanted="OBJECT", looked=samples.looked)
    return found


# --- State, and what is to be refused -------------------------------------------------------------


async def check_state_proof(node: Examined, samples: Samples) -> None:
    """A key that holds a value: the genesis hash, which every state of the chain keeps."""
    expected = canonical_json(node.subject.trust.genesis_hash.hex())
    require("state of ledger/genesis", await node.state(GENESIS_KEY, samples.common), expected)


async def check_absence(node: Examined, samples: Samples) -> None:
    """A key that holds nothing."""
    require("state of an absent key", await node.state(ABSENT_KEY, samples.common), None)


async def check_refusals(node: Examined, samples: Samples) -> None:
    """What does not exist is refused by its code, and nothing is made up."""
    beyond = samples.common + BEYOND_HEIGHTS
    await _refused("block", node.rpc.get_block(beyond), "HEIGHT_UNKNOWN")
    await _refused("consensus_state", node.rpc.get_consensus_state(beyond), "HEIGHT_UNKNOWN")
    await _refused("objects", node.rpc.list_objects(beyond), "HEIGHT_UNKNOWN")
    await _refused("state_proof", node.rpc.get_state_proof(ABSENT_KEY, beyond), "HEIGHT_UNKNOWN")
    await _refused("transaction", node.rpc.get_transaction(bytes(32)), "TRANSACTION_UNKNOWN")
    await _refused("transaction (3 bytes)", node.rpc.get_transaction(b"abc"), "TRANSACTION_UNKNOWN")
    await _refused("object", node.rpc.get_object("conformance:absent", 0), "OBJECT_UNKNOWN")


async def _refused(what: str, call: Awaitable[object], code: str) -> None:
    try:
        await call
    except GuqiaoError as error:
        require(f"refusal of {what}", error.code or type(error).__name__, code)
        return
    raise NonConformityError("CONFORMANCE_NOT_REFUSED", what=what, expected=code)


CheckOfSamples = Callable[[Examined, Samples], Awaitable[None]]
OF_SAMPLES: Final[Mapping[Check, CheckOfSamples]] = {
    Check.BLOCK_SIZE: check_block_size,
    Check.CONSENSUS_STATE: check_consensus_state,
    Check.BLOCK: check_block,
    Check.HISTORY: check_history,
    Check.TRANSACTION: check_transaction,
    Check.OBJECTS: check_objects,
    Check.OBJECT: check_object,
    Check.STATE_PROOF: check_state_proof,
    Check.ABSENCE: check_absence,
    Check.REFUSALS: check_refusals,
}
"""What is asked once the heights are known."""
