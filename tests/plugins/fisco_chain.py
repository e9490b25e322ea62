"""A FISCO BCOS 3 chain for tests: blocks, transactions and receipts in JSON as its nodes write it.

Made by our own code with SM2 keys of its own, hashed from the JSON and independent of the verifier.
What was recorded from real chains is in `tests/unit/fisco/recorded`, see `recorded`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import GmProvider, PrivateKey, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.fisco.sealers import Sealer, SealerSet
from guqiao_sdk.proof.fisco.trusted import TrustedFisco

VERSION: Final = 0x03030000
START_MS: Final = 1_756_000_000_000
RECORDED: Final = Path(__file__).parents[1] / "unit" / "fisco" / "recorded"

Row = dict[str, Any]
Hash = Callable[[bytes], bytes]


def recorded(name: str) -> Any:
    """What a real node answered."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


@cache
def provider() -> GmProvider:
    return open_provider()


@cache
def key(name: str) -> PrivateKey:
    return provider().load_private_key(sm3(name.encode()))


def node_id(name: str) -> bytes:
    return key(name).public_key[1:]


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def unhexed(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def number(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "big")


def header_hash(row: Row, hash_of: Hash = sm3) -> bytes:
    """The hash of a header's JSON."""
    parts = [number(row["version"], 4)]
    for parent in row["parentInfo"]:
        parts += [number(parent["blockNumber"]), unhexed(parent["blockHash"])]
    parts += [unhexed(row[name]) for name in ("txsRoot", "receiptsRoot", "stateRoot")]
    parts += [number(row["number"]), row["gasUsed"].encode()]
    parts += [number(row["timestamp"]), number(row["sealer"])]
    parts += [unhexed(each) for each in row["sealerList"]]
    parts += [unhexed(row["extraData"])]
    parts += [number(each) for each in row["consensusWeights"]]
    return hash_of(b"".join(parts))


def transaction_hash(row: Row, hash_of: Hash = sm3) -> bytes:
    """The hash of a transaction's JSON, its nonce as it is."""
    parts = (
        number(row["version"], 4),
        row["chainID"].encode(),
        row["groupID"].encode(),
        number(row["blockLimit"]),
        row["nonce"].encode(),
        row["to"].encode(),
        unhexed(row["input"]),
        row["abi"].encode(),
    )
    return hash_of(b"".join(parts))


def receipt_hash(row: Row, hash_of: Hash = sm3) -> bytes:
    """The hash of a receipt's JSON."""
    parts = [number(row["version"], 4), row["gasUsed"].encode()]
    parts += [row["contractAddress"].removeprefix("0x").encode(), number(row["status"], 4)]
    parts += [unhexed(row["output"])]
    for event in row["logEntries"]:
        parts += [event["address"].encode(), *map(unhexed, event["topics"]), unhexed(event["data"])]
    return hash_of(b"".join([*parts, number(row["blockNumber"])]))


def proof_of(hashes: Sequence[bytes], index: int, *, count_bytes: int = 4) -> list[str]:
    """A proof as a node writes it."""
    if len(hashes) == 1:
        return [hashes[0].hex()]
    proof, level = [], list(hashes)
    while len(level) > 1:
        first = index // 2 * 2
        pair = level[first : first + 2]
        proof += [number(len(pair), 4).ljust(count_bytes, b"\0").hex(), *(x.hex() for x in pair)]
        level, index = _above(level), index // 2
    return proof


def root_of(hashes: Sequence[bytes]) -> bytes:
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0] if level else bytes(32)


def _above(level: list[bytes]) -> list[bytes]:
    return [sm3(b"".join(level[at : at + 2])) for at in range(0, len(level), 2)]


def sign_header(row: Row, signers: Sequence[tuple[int, str]]) -> Row:
    """The header with its hash and the signatures of these, each under an index."""
    found = header_hash(row)
    signatures = [
        {"sealerIndex": index, "signature": hexed(provider().sign(key(name), found))}
        for index, name in signers
    ]
    return {**row, "hash": hexed(found), "signatureList": signatures}


def sign_transaction(row: Row, name: str) -> Row:
    """The transaction with its hash, signature and sender."""
    found = transaction_hash(row)
    signature = provider().sign(key(name), found) + node_id(name)
    sender = sm3(node_id(name))[-20:]
    return {**row, "hash": hexed(found), "signature": hexed(signature), "from": hexed(sender)}


@dataclass
class FiscoChain:
    """A chain that grows by `add_block`; all of it as a node would answer."""

    names: tuple[str, ...] = ("n0", "n1", "n2", "n3")
    weights: tuple[int, ...] = (1, 1, 1, 1)
    chain_id: str = "chain0"
    group_id: str = "group0"
    blocks: list[Row] = field(default_factory=list)
    transactions: dict[str, Row] = field(default_factory=dict)
    receipts: dict[str, Row] = field(default_factory=dict)
    genesis: Row = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = f"[chain]\nsm_crypto:1\nchainID: {self.chain_id}\ngrouID: {self.group_id}\n"
        found = sm3(number(VERSION, 4) + bytes(24) + text.encode())
        self.genesis = {
            **recorded("sm_genesis"),
            "extraData": hexed(text.encode()),
            "hash": hexed(found),
        }

    @property
    def sealers(self) -> SealerSet:
        pairs = zip(self.names, self.weights, strict=True)
        return SealerSet(tuple(Sealer(node_id(name), weight) for name, weight in pairs))

    @property
    def genesis_hash(self) -> bytes:
        return unhexed(self.genesis["hash"])

    def trusted(self, height: int = 0) -> TrustedFisco:
        """The checkpoint of a height."""
        at = self.block(height)["hash"]
        return TrustedFisco(
            self.chain_id, self.group_id, self.genesis_hash, height, unhexed(at), self.sealers
        )

    def block(self, height: int) -> Row:
        return self.blocks[height - 1] if height else self.genesis

    def add_block(
        self, count: int = 1, *, signers: Sequence[int] | None = None, **changes: Any
    ) -> Row:
        """The next block with so many transactions, signed by these of the chain's sealers."""
        height = len(self.blocks) + 1
        sent = [self._transaction(height, index) for index in range(count)]
        done = [self._receipt(height, index) for index in range(count)]
        sent_hashes = [unhexed(each["hash"]) for each in sent]
        done_hashes = [receipt_hash(each) for each in done]
        for index, (one, other) in enumerate(zip(sent, done, strict=True)):
            self.transactions[one["hash"]] = {**one, "txProof": proof_of(sent_hashes, index)}
            self.receipts[one["hash"]] = {
                **other,
                "hash": hexed(done_hashes[index]),
                "transactionHash": one["hash"],
                "txReceiptProof": proof_of(done_hashes, index),
            }
        row: Row = {
            "version": VERSION,
            "parentInfo": [
                {"blockNumber": height - 1, "blockHash": self.block(height - 1)["hash"]}
            ],
            "txsRoot": hexed(root_of(sent_hashes)),
            "receiptsRoot": hexed(root_of(done_hashes)),
            "stateRoot": hexed(sm3(number(height))),
            "number": height,
            "gasUsed": str(24_000 + height),
            "timestamp": START_MS + 1_000 * height,
            "sealer": height % len(self.names),
            "sealerList": [hexed(node_id(name)) for name in self.names],
            "consensusWeights": list(self.weights),
            "extraData": "0x",
            "transactions": [each["hash"] for each in sent],
            **changes,
        }
        chosen = range(len(self.names)) if signers is None else signers
        signed = sign_header(row, [(index, self.names[index]) for index in chosen])
        self.blocks.append(signed)
        return signed

    def _transaction(self, height: int, index: int) -> Row:
        row = {
            "version": 0,
            "chainID": self.chain_id,
            "groupID": self.group_id,
            "blockLimit": 500 + height,
            "nonce": str(10**20 + 1_000 * height + index),
            "to": "0x" + "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1",
            "input": hexed(b"\x2f\xe9\x9b\xdc" + number(index, 32)),
            "abi": "",
            "importTime": START_MS,
            "extraData": "",
        }
        return sign_transaction(row, "company")

    def _receipt(self, height: int, index: int) -> Row:
        event = {
            "address": "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1",
            "topics": [hexed(sm3(b"event"))],
            "data": hexed(number(index, 32)),
        }
        return {
            "version": 0,
            "gasUsed": str(19_000 + index),
            "contractAddress": "",
            "status": 0,
            "output": hexed(number(1, 32)),
            "logEntries": [event],
            "blockNumber": height,
            "message": "",
        }
