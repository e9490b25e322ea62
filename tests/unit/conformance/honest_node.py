"""A node of a chain in memory that answers as JR/T 0314 asks, and one that lies in one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as message
from guqiao_sdk.client.failures import failure
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.conformance.port import Node, Subject
from guqiao_sdk.errors import NotFoundError
from guqiao_sdk.proof.data_object import object_named
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.transaction import SignedTransaction
from services.consensus.domain.ledger.block_size import block_bytes_max
from services.consensus.objects import objects_of_block
from tests.unit.proof.proof_keys import FakeKeys, Keys, Replicas
from tests.unit.xchain.ledger_chain import LedgerChain

SUITE: Final = "SM2-SM3-SM4"
KEYS: Final = FakeKeys()


def make_chain(
    *, blocks_after: int = 2, set_change: bool = False, keys: Keys = KEYS
) -> LedgerChain:
    """A market's chain whose third block sent two data objects; empty blocks around it."""
    remote = Replicas(keys, "csrc").set.hash()
    chain = LedgerChain("shandong", keys, destination="csrc", remotes={"csrc": remote})
    chain.execute()
    chain.execute(next_replicas=chain.replicas.next_epoch() if set_change else None)
    sent = [
        chain.transaction("reports", "report", {"count": count, "broken": False})
        for count in (1, 2)
    ]
    chain.execute(*sent)
    for _ in range(blocks_after):
        chain.execute()
    return chain


def subject_of(chain: LedgerChain, **changes: Any) -> Subject:
    """The chain as its operator registered it, with the set of its genesis."""
    trust = ChainTrust("shandong", chain.genesis.hash(), chain.genesis.replica_set)
    return Subject(**{"trust": trust, "crypto_suite": SUITE, "sub_networks": (), **changes})


class HonestNode:
    """A `Node` that has the whole chain up to `top`, the latest block unless a test says so."""

    def __init__(self, chain: LedgerChain, replica: int, top: int | None = None) -> None:
        self.chain = chain
        self.replica = replica
        self.top = chain.header.height if top is None else top

    async def list_networks(self) -> message.ListNetworksResponse:
        return message.ListNetworksResponse(chain_ids=["shandong"])

    async def get_network_options(self) -> message.GetNetworkOptionsResponse:
        return message.GetNetworkOptionsResponse(
            software_version="1",
            operations=["identity.register", "reports.report"],
            outcomes=[each.name for each in Outcome],
            crypto_suite=SUITE,
            genesis_hash=self.chain.genesis.hash(),
            block_bytes_max=block_bytes_max(self.chain.genesis.parameters),
        )

    async def get_network_status(self) -> message.GetNetworkStatusResponse:
        header = self.chain.blocks[self.top].header
        return message.GetNetworkStatusResponse(
            chain_id=header.chain_id,
            height=header.height,
            header_hash=header.hash(),
            state_root=header.state_root,
            block_time_ms=header.block_time_ms,
            executed_height=header.height,
            replica=self.replica,
            peers=[
                message.PeerStatus(replica=each.replica, entity_name=each.entity_name)
                for each in self._set_at(self.top).members
                if each.replica != self.replica
            ],
            epoch=header.epoch,
            votes=True,
        )

    async def get_block(self, height: int) -> message.GetBlockResponse:
        self._known(height)
        return message.GetBlockResponse(block=self.chain.block_message(height))

    async def get_consensus_state(self, height: int) -> message.GetConsensusStateResponse:
        return message.GetConsensusStateResponse(
            certified_header=self._certified(height), replica_set=self._set_at(height).encode()
        )

    async def list_set_changes(self, from_epoch: int) -> message.ListSetChangesResponse:
        changes = [each for each in self.chain.set_changes if each.header.epoch >= from_epoch]
        return message.ListSetChangesResponse(set_changes=[each.encode() for each in changes])

    async def get_transaction(self, transaction_id: bytes) -> message.GetTransactionResponse:
        for height in range(1, self.top + 1):
            block = self.chain.blocks[height]
            for index, encoded in enumerate(block.transactions):
                if SignedTransaction.decode(encoded).id() == transaction_id:
                    return self._transaction(height, index)
        raise failure(NotFoundError, "TRANSACTION_UNKNOWN", transaction_id=transaction_id.hex())

    async def list_objects(self, height: int) -> message.ListObjectsResponse:
        self._known(height)
        receipts = self.chain.blocks[height].receipts
        return message.ListObjectsResponse(objects=objects_of_block(receipts, height))

    async def get_object(self, object_id: str, version: int) -> message.GetObjectResponse:
        for height in range(1, self.top + 1):
            receipts = self.chain.blocks[height].receipts
            for reference in objects_of_block(receipts, height):
                if (reference.object_id, reference.version) == (object_id, version):
                    record = _record(receipts, (object_id, version))
                    return message.GetObjectResponse(reference=reference, record=record)
        raise failure(NotFoundError, "OBJECT_UNKNOWN", object_id=object_id, version=str(version))

    async def get_state_proof(self, key: bytes, height: int) -> message.GetStateProofResponse:
        value = self.chain.state.get(key)
        return message.GetStateProofResponse(
            certified_header=self._certified(height),
            present=value is not None,
            value=value or b"",
            proof=self.chain.prove_at(key, height).encode(),
        )

    def _known(self, height: int) -> None:
        if not 1 <= height <= self.top:
            raise failure(NotFoundError, "HEIGHT_UNKNOWN", height=str(height))

    def _certified(self, height: int) -> ledger_pb2.CertifiedHeader:
        self._known(height)
        return self.chain.block_message(height).certified_header

    def _set_at(self, height: int) -> ReplicaSet:
        self._known(height)
        epoch = self.chain.blocks[height].header.epoch
        return Replicas(self.chain.keys, "shandong", epoch).set

    def _transaction(self, height: int, index: int) -> message.GetTransactionResponse:
        block = self.chain.blocks[height]
        receipt = block.receipts[index]
        proofs = [
            ledger_pb2.ListProof(leaf=leaf, index=index, count=path.count, path=path.siblings)
            for leaf, path in (
                (block.transactions[index], block.transaction_path(index)),
                (receipt.encode(), block.receipt_path(index)),
            )
        ]
        return message.GetTransactionResponse(
            result=ledger_pb2.TransactionResult(
                transaction_id=receipt.transaction_id,
                outcome=ledger_pb2.Outcome.Value(f"OUTCOME_{receipt.outcome.name}"),
                code=receipt.code,
                detail=receipt.detail,
                replay_of=receipt.replay_of,
                height=height,
                index=index,
                header_hash=block.header.hash(),
            ),
            certified_header=self._certified(height),
            transaction_proof=proofs[0],
            receipt_proof=proofs[1],
        )


def _record(receipts: tuple[Receipt, ...], named: tuple[str, int]) -> bytes:
    return next(
        event.body
        for receipt in receipts
        for event in receipt.events
        if object_named(event) == named
    )


Change = Callable[..., Any]


class Liar:
    """Answers as `node` does, but for the methods in `lies`: each gets the true answer and the
    arguments and returns what is said instead, or raises.
    """

    def __init__(self, node: Node, **lies: Change) -> None:
        self._node = node
        self._lies: Mapping[str, Change] = lies

    def __getattr__(self, method: str) -> Any:
        truth = getattr(self._node, method)
        lie = self._lies.get(method)

        async def answer(*arguments: Any) -> Any:
            told = await truth(*arguments)
            return told if lie is None else lie(told, *arguments)

        return answer
