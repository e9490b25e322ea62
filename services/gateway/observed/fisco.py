"""The adapter for FISCO BCOS 3 with national cryptography, over its JSON-RPC.

It asks, and `guqiao_sdk.proof.fisco` judges. Each node must first show the genesis block that is
trusted, which names chain, group and cryptography. Methods and their parameters after
`bcos-rpc/bcos-rpc/jsonrpc/JsonRpcImpl_2_0.cpp` of FISCO-BCOS/FISCO-BCOS and
`3.x/zh_CN/docs/develop/api.md` of FISCO-BCOS/FISCO-BCOS-DOC.
"""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.execution import verify_execution, verify_transaction_list
from guqiao_sdk.proof.fisco.fields import HASH_BYTES, MALFORMED, Fields, unhex
from guqiao_sdk.proof.fisco.genesis import verify_genesis
from guqiao_sdk.proof.fisco.header import CertifiedHeader, parse_header
from guqiao_sdk.proof.fisco.trusted import TrustedFisco, advance, check_header
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.quorum import REPLICAS_MAX
from services.gateway.observed.errors import ItemUnknownError
from services.gateway.observed.json_rpc import JsonRpcNodes, Node
from services.gateway.observed.port import ObservedHeader, ObservedStatus, ObservedTransaction

STATUS_BYTES_MAX: Final = 1024 * 1024
STATUS_DEPTH_MAX: Final = 6
_ANY_NODE: Final = ""


class FiscoObserved:
    """An `ObservedChain`; see the module."""

    def __init__(self, trusted: TrustedFisco, nodes: JsonRpcNodes, verify: Verify) -> None:
        self._trusted = trusted
        self._nodes = nodes
        self._verify = verify
        self._confirmed: set[str] = set()

    @property
    def chain_id(self) -> str:
        """Chain and group."""
        return self._trusted.name

    @property
    def trusted(self) -> TrustedFisco:
        """What is believed by now: the checkpoint to start from the next time."""
        return self._trusted

    async def status(self) -> ObservedStatus:
        """Where some node says that it stands."""

        async def read(node: Node) -> ObservedStatus:
            await self._confirm(node)
            group: list[Json] = [self._trusted.group_id, _ANY_NODE]
            voting = _told("consensus status", await node.ask("getConsensusStatus", group))
            syncing = _told("sync status", await node.ask("getSyncStatus", group))
            return ObservedStatus(
                height=voting.integer("blockNumber"),
                header_hash=_bare_hash(voting, "hash"),
                is_catching_up=syncing.values.get("isSyncing") is not False,
                voters=voting.integer("consensusNodesNum", REPLICAS_MAX + 1),
            )

        return await self._nodes.anywhere(read)

    async def header(self, height: int = 0) -> ObservedHeader:
        """The header of a height (0: the latest that a node has), verified."""

        async def read(node: Node) -> ObservedHeader:
            await self._confirm(node)
            number = height or await self._latest(node)
            certified, row = await self._block(node, number, only_header=True)
            return _observed(certified, row)

        return await self._nodes.anywhere(read)

    async def transactions(self, height: int) -> tuple[bytes, ...]:
        """The ids of all transactions of a block, in order and without gaps."""

        async def read(node: Node) -> tuple[bytes, ...]:
            await self._confirm(node)
            certified, row = await self._block(node, height, only_header=False)
            return verify_transaction_list(certified.header, row)

        return await self._nodes.anywhere(read)

    async def transaction(self, transaction_id: bytes) -> ObservedTransaction:
        """A transaction and what came of it, verified."""

        async def read(node: Node) -> ObservedTransaction:
            await self._confirm(node)
            named: list[Json] = [
                self._trusted.group_id,
                _ANY_NODE,
                "0x" + transaction_id.hex(),
                True,
            ]
            sent = _there(await node.ask("getTransaction", named))
            done = _there(await node.ask("getTransactionReceipt", named))
            height = Fields.of("receipt", done).integer("blockNumber")
            certified, _ = await self._block(node, height, only_header=True)
            return self._executed(certified, transaction_id, sent, done)

        return await self._nodes.anywhere(read)

    async def close(self) -> None:
        """Nothing is kept open between questions."""

    def _executed(
        self, certified: CertifiedHeader, transaction_id: bytes, sent: Json, done: Json
    ) -> ObservedTransaction:
        header = certified.header
        proven = verify_execution(self._trusted, header, sent, done, self._verify)
        transaction, receipt = proven.transaction, proven.receipt
        if transaction.hash() != transaction_id:
            raise ProofError(f"transaction {transaction_id.hex()}", "another one was answered")
        return ObservedTransaction(
            transaction_id=transaction_id,
            height=header.number,
            index=proven.index,
            sender="0x" + transaction.sender.hex(),
            target=transaction.to,
            body=transaction.data,
            succeeded=receipt.status == 0,
            outcome=str(receipt.status),
            result=receipt.tail,
            proof=canonical_json({"transaction": sent, "receipt": done}),
        )

    async def _confirm(self, node: Node) -> None:
        if node.endpoint.name not in self._confirmed:
            question: list[Json] = [self._trusted.group_id, _ANY_NODE, 0, True, False]
            verify_genesis(self._trusted, _there(await node.ask("getBlockByNumber", question)))
            self._confirmed.add(node.endpoint.name)

    async def _latest(self, node: Node) -> int:
        number = await node.ask("getBlockNumber", [self._trusted.group_id, _ANY_NODE])
        latest = Fields("block number", {"number": number}).integer("number")
        if latest < 1:
            raise ItemUnknownError
        return latest

    async def _block(
        self, node: Node, height: int, *, only_header: bool
    ) -> tuple[CertifiedHeader, Json]:
        """The verified header of a height, and the row that it came in."""
        question: list[Json] = [self._trusted.group_id, _ANY_NODE, height, only_header, True]
        row = _there(await node.ask("getBlockByNumber", question))
        certified = parse_header(row)
        number = certified.header.number
        if number != height:
            piece = f"header of {self._trusted.name} height {height}"
            raise ProofError(piece, f"height {height} was asked for, {number} came")
        # Nothing is awaited from here on: what is believed changes in one step.
        if height < self._trusted.number:
            check_header(self._trusted, certified, self._verify)
        else:
            self._trusted = advance(self._trusted, certified, self._verify)
        return certified, row


def _there(result: Json) -> Json:
    """A node answers null, or an object without members, for what it does not have."""
    if result is None or result == {}:
        raise ItemUnknownError
    return result


def _told(piece: str, result: Json) -> Fields:
    """A status, which nodes write as JSON within a text."""
    if not isinstance(result, str):
        raise ProofError(piece, "it is no JSON object", MALFORMED)
    try:
        value = parse_json_strict(
            result.encode(), depth_max=STATUS_DEPTH_MAX, size_max=STATUS_BYTES_MAX
        )
    except JsonError as error:
        raise ProofError(piece, "it is not JSON", MALFORMED) from error
    return Fields.of(piece, value)


def _bare_hash(fields: Fields, name: str) -> bytes:
    found = unhex(fields.piece, name, fields.text(name, 2 * HASH_BYTES))
    if len(found) != HASH_BYTES:
        raise ProofError(fields.piece, f"{name} is not of the right size", MALFORMED)
    return found


def _observed(certified: CertifiedHeader, row: Json) -> ObservedHeader:
    header = certified.header
    return ObservedHeader(
        height=header.number,
        header_hash=header.hash(),
        parent=header.parent_hash,
        time_ms=header.time_ms,
        transactions_root=header.transactions_root,
        receipts_root=header.receipts_root,
        signers=tuple(header.sealers.sealers[index].node_id for index, _ in certified.signatures),
        proof=canonical_json(row),
    )
