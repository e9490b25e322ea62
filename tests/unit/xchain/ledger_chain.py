"""A chain for tests: the real ledger and contracts, executed block by block without consensus.

Every block is certified by a keyed replica set and its state is provable, so that two of these
chains can be relayed to each other by the test as a relayer would.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.merkle import MerklePath, merkle_paths, merkle_root
from guqiao_sdk.proof.packet import Packet, Terms, commitment_key
from guqiao_sdk.proof.receipt import Receipt, is_final
from guqiao_sdk.proof.state_proof import StateProof
from guqiao_sdk.proof.transaction import (
    Payload,
    SignedTransaction,
    envelope_sign_bytes,
    transaction_id,
    transaction_sign_bytes,
)
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.host import Contract, Host, Method
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.light_client import LightClientContract
from services.consensus.domain.contracts.objects import ObjectsContract
from services.consensus.domain.contracts.objects_form import PROTOCOL
from services.consensus.domain.contracts.packet_link.contract import LinkedPacketsContract
from services.consensus.domain.contracts.packets import PacketsContract
from services.consensus.domain.contracts.packets_host import link_host
from services.consensus.domain.contracts.services import ServicesContract
from services.consensus.domain.contracts.source_mark import source_mark
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.execution import BlockResult, execute_block
from services.consensus.domain.ledger.genesis import (
    ContractActivation,
    Genesis,
    ProtocolParameters,
    RemoteChain,
    genesis_header,
    genesis_state,
)
from services.consensus.domain.ledger.state_tree import apply, changes_of, prove
from tests.unit.proof.proof_keys import START_MS, Keys, Replicas

CONTRACTS = ("identity", "light_client", "objects", "packets", "reports", "services")
MARKED = 5
LINKED = 3
"""From this version of `packets` on the regulatory chain is the one that reports to nobody."""

PARAMETERS = ProtocolParameters(100, 100, 1 << 20, 1_000, 1_000, 8_000, 60_000, 100)
ROLES = frozenset({"relayer", "reporter", "service_publisher"})


def data_object(object_id: str, *, version: int = 0, operation: str = "create") -> dict[str, Json]:
    """A small well-formed data object."""
    body: dict[str, Json] = {} if operation == "delete" else {"subject": {"name": "企业甲", "n": 1}}
    return {
        "header": {
            "model": {"protocol": PROTOCOL, "version": "guqiao-1"},
            "content": {
                "type": "subject",
                "object_id": object_id,
                "version": version,
                "operation": operation,
                "timestamp": 1_756_000_000,
            },
            "remark": "",
            "seal": [],
            "metadata": {},
        },
        "body": body,
    }


def report(host: Host, body: Mapping[str, Json], *, marks: bool) -> None:
    """Send `count` data objects of this transaction; `broken` ones have another chain's id."""
    parameters = host.get("parameters")
    assert isinstance(parameters, dict)
    count = body["count"]
    assert isinstance(count, int)
    for index in range(count):
        chain = "beijing" if body["broken"] else parameters["chain_id"]
        name = f"{chain}:subject{'' if index == 0 else index}:{host.transaction_id()}"
        value: Any = data_object(name)
        if marks:
            chain_id = str(parameters["chain_id"])
            mark = source_mark(host, chain=chain_id, contract="reports", version=1)
            value["header"]["source"] = mark
        host.send_packet("data_object", value)


def send(host: Host, body: Mapping[str, Json]) -> None:
    """Send a packet of format 2 for each of `packets`: destination, port, payload and terms."""
    entries = body["packets"]
    assert isinstance(entries, list)
    for entry in entries:
        assert isinstance(entry, dict)
        terms = Terms.from_json(entry)
        assert terms is not None
        destination, port = entry["destination"], entry["port"]
        link_host(host).send_to(str(destination), str(port), entry["payload"], terms)


@dataclass(frozen=True)
class ReportsContract:
    """What a market's register does, as far as packets see it."""

    name: str = "reports"
    version: int = 1
    marks: bool = False
    """Whether its objects bear the mark of their source."""

    def methods(self) -> Mapping[str, Method]:
        return {"report": partial(report, marks=self.marks), "send": send}


@dataclass
class MemoryState:
    """A committed state in a dictionary."""

    values: dict[bytes, bytes]
    ids: set[bytes] = field(default_factory=set)

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(item for item in self.values.items() if item[0].startswith(prefix)))

    def executed(self, transaction_id: bytes) -> bool:
        return transaction_id in self.ids


@dataclass
class Block:
    """One executed and certified block."""

    header: BlockHeader
    certificate: FinalityCertificate
    transactions: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]

    def transaction_path(self, index: int) -> MerklePath:
        return MerklePath.of(self.transactions, index)

    def receipt_path(self, index: int) -> MerklePath:
        return MerklePath.of([receipt.encode() for receipt in self.receipts], index)


class LedgerChain:
    """One chain with one identity that holds every role, unless a test asks for more."""

    def __init__(
        self,
        chain_id: str,
        keys: Keys,
        *,
        destination: str | None,
        remotes: Mapping[str, bytes],
        roles: frozenset[str] = ROLES,
        others: Iterable[IdentityRecord] = (),
        contracts: Iterable[Contract] = (),
        historic_import: bool = False,
        packets_version: int = 1,
        client_version: int = 1,
    ) -> None:
        """`others` are further identities, `contracts` further ones, active from height 1."""
        self.keys = keys
        further = tuple(contracts)
        chosen = {
            "packets": packets_version,
            "light_client": client_version,
            "objects": 2 if packets_version >= MARKED else 1,
        }
        self.replicas = Replicas(keys, chain_id)
        self.did = f"did:rem:{chain_id}:91370000MA0000000X"
        key = KeyRecord(keys.public_key(self.did), 0, 1 << 52, False)
        record = IdentityRecord(self.did, self.did, roles, True, {"key-1": key})
        self.genesis = Genesis(
            replica_set=self.replicas.set,
            parameters=PARAMETERS,
            genesis_time_ms=START_MS,
            historic_import=historic_import,
            destination=destination,
            contracts=tuple(
                ContractActivation(name, version, 1)
                for name, version in (
                    *((name, chosen.get(name, 1)) for name in CONTRACTS),
                    *((contract.name, contract.version) for contract in further),
                )
            ),
            identities=(record, *others),
            remote_chains=tuple(
                RemoteChain(remote, genesis_hash, Replicas(keys, remote).set)
                for remote, genesis_hash in remotes.items()
            ),
        )
        self.state = MemoryState(dict(genesis_state(self.genesis)))
        self.pages: dict[bytes, bytes] = {}
        update = apply(self.pages.__getitem__, None, changes_of(self.state.values), 0)
        self.pages.update(update.pages)
        self.versions: dict[int, int | None] = {0: update.version}
        self.header = genesis_header(self.genesis)
        self.blocks: dict[int, Block] = {}
        self.write_sets: dict[int, dict[bytes, bytes | None]] = {}
        self.set_changes: list[SetChange] = []
        self.requests = 0
        self.catalogue = Catalogue(
            [
                IdentityContract(),
                *map(LightClientContract, (1, 2, 3, 4)),
                *map(ObjectsContract, (1, 2)),
                *map(PacketsContract, (1, 2)),
                *map(LinkedPacketsContract, (3, 4, 5)),
                ReportsContract(marks=packets_version >= MARKED),
                ServicesContract(),
                *further,
            ]
        )

    def transaction(
        self,
        contract: str,
        method: str,
        body: Mapping[str, Json],
        *,
        request_id: str | None = None,
        business_time: str | None = None,
        after: bytes | None = None,
        signers: tuple[IdentityRecord, ...] = (),
    ) -> bytes:
        """Sign one transaction; its request id is the next one unless a test names it. `signers`
        are maker and checker where it is not the one identity that makes it.
        """
        self.requests += 1
        dids = [each.did for each in signers] or [self.did]
        payload = Payload(
            chain=self.header.chain_id,
            maker=(dids[0], "key-1"),
            checker=(dids[1], "key-1") if len(dids) > 1 else None,
            organisation=signers[0].organisation if signers else self.did,
            request_id=request_id or str(uuid.UUID(int=self.requests)),
            expires_height=self.header.height + 500,
            expires_time_ms=self.header.block_time_ms + 500_000,
            after=after,
            contract=contract,
            method=method,
            business_time=business_time,
            body=body,
        ).to_bytes()
        message = transaction_sign_bytes(payload)
        signatures = tuple((self.keys.public_key(x), self.keys.sign(x, message)) for x in dids)
        return SignedTransaction(payload, signatures).encode()

    def signed_together(self, *transactions: bytes) -> list[bytes]:
        """The same transactions under one signature."""
        payloads = [SignedTransaction.decode(each).payload for each in transactions]
        ids = [transaction_id(payload) for payload in payloads]
        signature = self.keys.sign(self.did, envelope_sign_bytes(merkle_root(ids)))
        signatures = ((self.keys.public_key(self.did), signature),)
        return [
            SignedTransaction(payload, signatures, path).encode()
            for payload, path in zip(payloads, merkle_paths(ids), strict=True)
        ]

    def execute(
        self,
        *transactions: bytes,
        next_replicas: Replicas | None = None,
        time_ms: int | None = None,
    ) -> Block:
        """Make the next block, a second after the last one unless a test names its time; with
        `next_replicas` it is the last of its epoch.
        """
        batch = Batch(time_ms or self.header.block_time_ms + 1_000, transactions)
        result = execute_block(
            self.state,
            genesis=self.genesis,
            catalogue=self.catalogue,
            parent=self.header,
            batch=batch,
            transactions=[read_transaction(encoded) for encoded in transactions],
            verify=self.keys.verify,
        )
        assert left_by_refusals(result) == []
        update = apply(
            self.pages.__getitem__,
            self.versions[self.header.height],
            changes_of(result.write_set),
            result.height,
        )
        self.pages.update(update.pages)
        self.versions[result.height] = update.version
        self.write_sets[result.height] = dict(result.write_set)
        for key, value in result.write_set.items():
            if value is None:
                self.state.values.pop(key, None)
            else:
                self.state.values[key] = value
        final = [receipt for receipt in result.receipts if is_final(receipt)]
        self.state.ids |= {receipt.transaction_id for receipt in final}
        self.header = replace(
            result.header(update.root),
            epoch=self.replicas.epoch,
            next_set_hash=(next_replicas or self.replicas).set.hash(),
        )
        certificate = self.replicas.certify(self.header)
        block = Block(self.header, certificate, transactions, result.receipts)
        self.blocks[result.height] = block
        if next_replicas is not None:
            self.set_changes.append(SetChange(self.header, certificate, next_replicas.set))
            self.replicas = next_replicas
        return block

    def block_message(self, height: int) -> ledger_pb2.Block:
        """A block as it travels."""
        block = self.blocks[height]
        return ledger_pb2.Block(
            certified_header=ledger_pb2.CertifiedHeader(
                header=block.header.encode(), certificate=block.certificate.encode()
            ),
            batch=Batch(block.header.block_time_ms, block.transactions).encode(),
            receipts=[receipt.encode() for receipt in block.receipts],
            next_replica_set=self._next_set(height),
        )

    def _next_set(self, height: int) -> bytes:
        """Of the last block of an epoch: the set that follows."""
        for change in self.set_changes:
            if change.header.height == height:
                return change.replica_set.encode()
        return b""

    def call(self, contract: str, method: str, body: Mapping[str, Json]) -> Receipt:
        """Execute one transaction in a block of its own and return its receipt."""
        return self.execute(self.transaction(contract, method, body)).receipts[0]

    def prove(self, key: str) -> StateProof:
        """Prove `key` at the latest height."""
        return self.prove_at(key.encode(), self.header.height)

    def prove_at(self, key: bytes, height: int) -> StateProof:
        """Prove `key` at an earlier height."""
        return prove(self.pages.__getitem__, self.versions[height], key)

    def values_at(self, height: int) -> dict[bytes, bytes]:
        """What the state held after a block."""
        held: dict[bytes, bytes | None] = dict(genesis_state(self.genesis))
        for each in range(1, height + 1):
            held |= self.write_sets[each]
        return {key: value for key, value in held.items() if value is not None}

    def value(self, key: str) -> Json | None:
        """Read a whole state key."""
        stored = self.state.get(key.encode())
        return None if stored is None else parse_json_strict(stored, depth_max=64, size_max=1 << 24)


def left_by_refusals(result: BlockResult) -> list[str]:
    """What refused calls left behind them other than their receipts: events, a receipt without the
    code of its refusal, and where a block has none but refused calls, keys of its state. The ledger
    itself records for each that it was executed.
    """
    refused = [receipt for receipt in result.receipts if not receipt.accepted]
    left = [f"{receipt.code}: {event.topic}" for receipt in refused for event in receipt.events]
    left += ["no code" for receipt in refused if not receipt.code]
    if refused and len(refused) == len(result.receipts):
        left += [key.decode() for key in result.write_set if not key.startswith(b"ledger/")]
    return left


def events(receipt: Receipt, topic: str) -> list[dict[str, Json]]:
    """The bodies of a receipt's events of one topic."""
    bodies: list[dict[str, Json]] = []
    for event in receipt.events:
        if event.topic == topic:
            body = parse_json_strict(event.body, depth_max=64, size_max=1 << 24)
            assert isinstance(body, dict)
            bodies.append(body)
    return bodies


def sent_packets(receipt: Receipt) -> list[Packet]:
    """The packets that a transaction sent, as a relayer reads them from its receipt."""
    packets: list[Packet] = []
    for body in events(receipt, "packet.sent"):
        source, destination, port = body["source"], body["destination"], body["port"]
        sequence = body["sequence"]
        assert isinstance(source, str)
        assert isinstance(destination, str)
        assert isinstance(port, str)
        assert isinstance(sequence, int)
        payload = canonical_json(body["payload"])
        terms = Terms.from_json(body)
        packets.append(Packet(source, destination, port, sequence, payload, terms))
    return packets


def update_body(remote: LedgerChain, *, set_changes: tuple[SetChange, ...] = ()) -> dict[str, Json]:
    """`light_client.update` with the latest block of `remote`."""
    block = remote.blocks[remote.header.height]
    return {
        "chain": remote.header.chain_id,
        "header": block.header.encode().hex(),
        "certificate": block.certificate.encode().hex(),
        "set_changes": [
            {
                "header": change.header.encode().hex(),
                "certificate": change.certificate.encode().hex(),
                "replica_set": change.replica_set.encode().hex(),
            }
            for change in set_changes
        ],
    }


def receive_body(remote: LedgerChain, packets: list[Packet]) -> dict[str, Json]:
    """`packets.receive` with proofs at the latest height of `remote`."""
    return receive_body_at(remote, packets, remote.header.height)


def receive_body_at(remote: LedgerChain, packets: list[Packet], height: int) -> dict[str, Json]:
    """`packets.receive` with proofs at a height of `remote`."""
    entries: list[Json] = []
    for packet in packets:
        key = commitment_key(packet.destination, packet.port, packet.sequence)
        entry: dict[str, Json] = {
            "destination": packet.destination,
            "port": packet.port,
            "sequence": packet.sequence,
            "payload": packet.payload.decode(),
            "proof": remote.prove_at(key.encode(), height).encode().hex(),
        }
        entries.append(entry if packet.terms is None else {**entry, **packet.terms.to_json()})
    return {"source": remote.header.chain_id, "height": height, "packets": entries}


def make_pair(
    keys: Keys, *, packets_version: int = 1, client_version: int = 1
) -> tuple[LedgerChain, LedgerChain]:
    """A market chain and the regulatory chain, each with the other's light client."""
    hashes = {name: Replicas(keys, name).set.hash() for name in ("shandong", "csrc")}
    shandong = LedgerChain(
        "shandong",
        keys,
        destination="csrc",
        remotes={"csrc": hashes["csrc"]},
        packets_version=packets_version,
        client_version=client_version,
    )
    csrc = LedgerChain(
        "csrc",
        keys,
        destination=None if packets_version >= LINKED else "shandong",
        remotes={"shandong": hashes["shandong"]},
        packets_version=packets_version,
        client_version=client_version,
    )
    return shandong, csrc
