"""The node RPC of a `LedgerChain`: one endpoint that executes at once what it is given.

The ledger, the contracts, the certificates and the state proofs are real, only the ordering is not:
every transaction becomes a block of its own. So a real `ChainClient` works against it, and a test
may take the endpoint away and bring it back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc.aio

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.consensus.v1.node_service_pb2_grpc import (
    add_NodeServiceServicer_to_server,
)
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Identity, transaction_from_message
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.errors import STATUS_METADATA_KEY
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.receipt import Receipt, is_final
from services.chassis.grpc_server import error_of_code, to_rpc_status
from services.chassis.grpc_server.grpc_errors import grpc_code
from services.consensus.domain.ledger.admission import Refused, check_stateless
from services.consensus.domain.ledger.authorisation import Identities
from services.consensus.mempool import PREDECESSOR_WAIT_MS
from tests.unit.proof.proof_keys import Sm2Keys
from tests.unit.xchain.ledger_chain import LedgerChain

WATCH_POLL_SECONDS = 0.01


@dataclass
class LedgerNode:
    """Serves one chain on a loopback port that stays the same while it is away."""

    chain: LedgerChain
    port: int = 0
    server: grpc.aio.Server | None = None
    submissions: int = 0
    looks: int = 0
    """How often it was asked for a header."""
    rests_ms: list[int] = field(default_factory=list)
    """How much later than usual the block of each coming submission is, the next one's first."""
    ahead_ms: int = 0
    """How much later it is than the chain's time; admission goes by the clock."""
    traceparents: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """Answer from now on."""
        self.server = grpc.aio.server()
        add_NodeServiceServicer_to_server(self, self.server)  # type: ignore[arg-type]
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self.server is not None:
            await self.server.stop(0)
            self.server = None

    def client(self, provider: GmProvider, signer: Identity) -> ChainClient:
        """A real client of this endpoint, which speaks for two replicas: so many must agree."""
        endpoints = [f"{replica}@127.0.0.1:{self.port}" for replica in range(2)]
        return ChainClient(self.chain.header.chain_id, endpoints, signer, self.trust, provider)

    @property
    def trust(self) -> ChainTrust:
        """What a client of the chain trusts."""
        chain = self.chain
        return ChainTrust(chain.header.chain_id, chain.genesis.hash(), chain.genesis.replica_set)

    async def SubmitTransaction(
        self, request: node.SubmitTransactionRequest, context: Any
    ) -> node.SubmitTransactionResponse:
        for key, value in context.invocation_metadata() or ():
            if key == "traceparent":
                self.traceparents.append(value)
        await self._wait_for_predecessor(request.transaction)
        answer = self._submit(request.transaction)
        if isinstance(answer, Refused):
            await abort(context, answer.code)
        return node.SubmitTransactionResponse(transaction_id=answer.transaction_id, result=answer)

    async def SubmitTransactions(
        self, request_iterator: AsyncIterator[node.SubmitTransactionsRequest], context: Any
    ) -> AsyncIterator[node.SubmitTransactionsResponse]:
        async for request in request_iterator:
            answers = [self._answer(each) for each in request.transactions]
            yield node.SubmitTransactionsResponse(answers=answers)

    async def _wait_for_predecessor(self, message: ledger_pb2.Transaction) -> None:
        """What overtook the one that it follows waits a moment, as in a replica's mempool."""
        named = json.loads(message.payload).get("after")
        after = bytes.fromhex(named) if named else b""
        deadline = asyncio.get_running_loop().time() + PREDECESSOR_WAIT_MS / 1_000
        while after and self._place(after) is None:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(WATCH_POLL_SECONDS)

    def _answer(self, transaction: ledger_pb2.Transaction) -> node.TransactionAnswer:
        answer = self._submit(transaction)
        name = transaction_from_message(transaction).id()
        if isinstance(answer, Refused):
            status = to_rpc_status(error_of_code(answer.code)).SerializeToString()
            return node.TransactionAnswer(transaction_id=name, error=status)
        return node.TransactionAnswer(transaction_id=name, result=answer)

    def _submit(self, message: ledger_pb2.Transaction) -> ledger_pb2.TransactionResult | Refused:
        self.submissions += 1
        transaction = transaction_from_message(message)
        place = self._place(transaction.id())
        if place is not None:
            return self._result(*place)
        chain = self.chain
        verdict = check_stateless(
            transaction.encode(),
            chain_id=chain.header.chain_id,
            now_height=chain.header.height,
            block_time_ms=chain.header.block_time_ms + self.ahead_ms,
            verify_many=lambda triples: [chain.keys.verify(*triple) for triple in triples],
        )
        if isinstance(verdict, Refused):
            return verdict
        rested_ms = self.rests_ms.pop(0) if self.rests_ms else 0
        time_ms = chain.header.block_time_ms + 1_000 + rested_ms
        chain.execute(transaction.encode(), time_ms=time_ms)
        return self._result(chain.header.height, 0)

    def _place(self, transaction_id: bytes, *, attempts: bool = False) -> tuple[int, int] | None:
        """Where it was executed, or, with `attempts`, where it had no effect for now."""
        for height, block in self.chain.blocks.items():
            for index, receipt in enumerate(block.receipts):
                is_it = receipt.transaction_id == transaction_id
                if is_it and (attempts or is_final(receipt)):
                    return height, index
        return None

    def _result(self, height: int, index: int) -> ledger_pb2.TransactionResult:
        block = self.chain.blocks[height]
        receipt: Receipt = block.receipts[index]
        return ledger_pb2.TransactionResult(
            transaction_id=receipt.transaction_id,
            outcome=ledger_pb2.Outcome.ValueType(int(receipt.outcome)),
            code=receipt.code,
            detail=receipt.detail,
            replay_of=receipt.replay_of,
            height=height,
            index=index,
            header_hash=block.header.hash(),
        )

    async def _not_served(self, request: Any, context: Any) -> NoReturn:
        await abort(context, "METHOD_UNKNOWN")

    ListNetworks = ListObjects = GetObject = _not_served

    async def GetNetworkStatus(
        self, request: node.GetNetworkStatusRequest, context: Any
    ) -> node.GetNetworkStatusResponse:
        header, size = self.chain.header, self.chain.genesis.replica_set.size
        return node.GetNetworkStatusResponse(
            chain_id=header.chain_id,
            height=header.height,
            header_hash=header.hash(),
            peers=[node.PeerStatus(replica=each) for each in range(1, size)],
        )

    async def ListSetChanges(
        self, request: node.ListSetChangesRequest, context: Any
    ) -> node.ListSetChangesResponse:
        found = [c for c in self.chain.set_changes if c.replica_set.epoch > request.from_epoch]
        return node.ListSetChangesResponse(set_changes=[change.encode() for change in found])

    async def GetNetworkOptions(
        self, request: node.GetNetworkOptionsRequest, context: Any
    ) -> node.GetNetworkOptionsResponse:
        found = (
            (entry.name, self.chain.catalogue.find(entry.name, entry.version))
            for entry in self.chain.genesis.contracts
        )
        names = [f"{name}.{method}" for name, one in found if one for method in one.methods()]
        return node.GetNetworkOptionsResponse(operations=sorted(names))

    async def GetConsensusState(
        self, request: node.GetConsensusStateRequest, context: Any
    ) -> node.GetConsensusStateResponse:
        self.looks += 1
        height = request.height or self.chain.header.height
        if height == 0:
            header = ledger_pb2.CertifiedHeader(header=self.chain.header.encode())
            return node.GetConsensusStateResponse(certified_header=header)
        if height not in self.chain.blocks:
            await abort(context, "HEIGHT_UNKNOWN")
        return node.GetConsensusStateResponse(
            certified_header=self.chain.block_message(height).certified_header
        )

    async def GetBlock(self, request: node.GetBlockRequest, context: Any) -> node.GetBlockResponse:
        if request.height not in self.chain.blocks:
            await abort(context, "HEIGHT_UNKNOWN")
        return node.GetBlockResponse(block=self.chain.block_message(request.height))

    async def GetTransaction(
        self, request: node.GetTransactionRequest, context: Any
    ) -> node.GetTransactionResponse:
        place = self._place(request.transaction_id, attempts=True)
        if place is None:
            await abort(context, "TRANSACTION_UNKNOWN")
        height, index = place
        block = self.chain.blocks[height]
        encoded = [receipt.encode() for receipt in block.receipts]
        return node.GetTransactionResponse(
            result=self._result(height, index),
            certified_header=self.chain.block_message(height).certified_header,
            transaction_proof=_list_proof(block.transactions[index], block.transaction_path(index)),
            receipt_proof=_list_proof(encoded[index], block.receipt_path(index)),
        )

    async def GetStateProof(
        self, request: node.GetStateProofRequest, context: Any
    ) -> node.GetStateProofResponse:
        header, (found,) = await self._proven([request.key], request.height, context)
        return node.GetStateProofResponse(
            certified_header=header, present=found.present, value=found.value, proof=found.proof
        )

    async def GetStateProofs(
        self, request: node.GetStateProofsRequest, context: Any
    ) -> node.GetStateProofsResponse:
        header, found = await self._proven(request.keys, request.height, context)
        return node.GetStateProofsResponse(certified_header=header, values=found)

    async def _proven(
        self, keys: Sequence[bytes], height: int, context: Any
    ) -> tuple[ledger_pb2.CertifiedHeader, list[node.ProvenValue]]:
        height = height or self.chain.header.height
        if height not in self.chain.blocks:
            await abort(context, "HEIGHT_UNKNOWN")
        held = self.chain.values_at(height)
        found = [
            node.ProvenValue(
                present=key in held,
                value=held.get(key, b""),
                proof=self.chain.prove_at(key, height).encode(),
            )
            for key in keys
        ]
        return self.chain.block_message(height).certified_header, found

    async def WatchBlocks(
        self, request: node.WatchBlocksRequest, context: Any
    ) -> AsyncIterator[node.WatchBlocksResponse]:
        height = request.from_height
        while True:
            while height in self.chain.blocks:
                yield node.WatchBlocksResponse(block=self.chain.block_message(height))
                height += 1
            await asyncio.sleep(WATCH_POLL_SECONDS)

    async def GetIdentity(
        self, request: node.GetIdentityRequest, context: Any
    ) -> node.GetIdentityResponse:
        found = Identities(self.chain.state).find(request.did)
        if found is None:
            await abort(context, "IDENTITY_UNKNOWN")
        return node.GetIdentityResponse(
            did=found.did,
            organisation=found.organisation,
            roles=sorted(found.roles),
            active=found.active,
            keys=[
                node.IdentityKey(
                    key_id=name,
                    public_key=key.public_key,
                    not_before_ms=key.not_before_ms,
                    not_after_ms=key.not_after_ms,
                    revoked=key.revoked,
                )
                for name, key in found.keys.items()
            ],
        )


def identity_of(
    chain: LedgerChain, keys: Sm2Keys, did: str = "", organisation: str = ""
) -> Identity:
    """The chain's identity, or another one that it knows, with its key `key-1`."""
    name = did or chain.did
    keys.public_key(name)  # Makes the key, if need be.
    return Identity(name, "key-1", organisation or name, keys.made[name])


async def abort(context: Any, code: str) -> NoReturn:
    """End a call with an error of the catalogue."""
    status = to_rpc_status(error_of_code(code))
    details = ((STATUS_METADATA_KEY, status.SerializeToString()),)
    await context.abort(grpc_code(status), status.message, details)
    raise AssertionError("abort raises")


def _list_proof(leaf: bytes, path: MerklePath) -> ledger_pb2.ListProof:
    return ledger_pb2.ListProof(leaf=leaf, index=path.index, count=path.count, path=path.siblings)
