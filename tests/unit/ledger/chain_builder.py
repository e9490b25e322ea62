"""Builds genesis files, signed transactions and a small contract for the ledger's tests.

Most tests sign with a keyed digest, which is quick; those that show SM2 use the provider.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import Payload, SignedTransaction, transaction_sign_bytes
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.execution import BlockResult, execute_block
from services.consensus.domain.ledger.genesis import Genesis, genesis_header, genesis_state
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.domain.ledger.keys import EXECUTED_PREFIX, executed_ids
from services.consensus.domain.ledger.star_programs import StarPrograms
from services.consensus.domain.ledger.state_tree import apply, changes_of

CHAIN = "testing"
GENESIS_TIME_MS = 1_790_000_000_000
DAY_MS = 86_400_000
FLOOD_VALUE_BYTES = 100_000
MARKET = "did:rem:testing:market"
ADMIN = "did:rem:testing:admin"
CLERK = "did:rem:testing:clerk"


def public_key(did: str, key_id: str = "k1") -> bytes:
    """A key whose private half is the name itself."""
    half = sm3(f"{did}#{key_id}".encode())
    return b"\x04" + half + sm3(half)


def sign(key: bytes, message: bytes) -> bytes:
    half = sm3(key + message)
    return half + half


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    return signature == sign(key, message)


def verify_many(items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
    return [verify(*item) for item in items]


def key_json(did: str, key_id: str = "k1") -> dict[str, Any]:
    return {
        "id": key_id,
        "public_key": public_key(did, key_id).hex(),
        "not_before_ms": GENESIS_TIME_MS - DAY_MS,
        "not_after_ms": GENESIS_TIME_MS + 365 * DAY_MS,
    }


def identity_json(did: str, *roles: str) -> dict[str, Any]:
    return {"did": did, "organisation": MARKET, "roles": list(roles), "keys": [key_json(did)]}


def replicas_json(*entities: str) -> list[dict[str, str]]:
    return [
        {
            "entity_id": entity,
            "entity_name": f"Entity {entity}",
            "vote_key": public_key(f"replica-{number}").hex(),
        }
        for number, entity in enumerate(entities)
    ]


def genesis_json() -> dict[str, Any]:
    return {
        "format": "guqiao-genesis/1",
        "chain_id": CHAIN,
        "epoch": 0,
        "genesis_time_ms": GENESIS_TIME_MS,
        "historic_import": False,
        "destination": "supervising",
        "replicas": replicas_json("A", "B", "C", "D"),
        "parameters": {
            "window": 8,
            "batch_transactions_max": 500,
            "batch_bytes_max": 1_048_576,
            "heartbeat_ms": 5_000,
            "view_timeout_ms": 1_000,
            "view_timeout_max_ms": 8_000,
            "clock_bound_ms": 2_000,
            "snapshot_interval": 100,
        },
        "contracts": [
            {"name": "identity", "version": 1, "from_height": 0},
            {"name": "scribble", "version": 1, "from_height": 0},
        ],
        "identities": [
            identity_json(ADMIN, "identity_admin"),
            identity_json(CLERK, "clerk"),
        ],
        "remote_chains": [],
    }


def genesis_of(value: Mapping[str, Any]) -> Genesis:
    return parse_genesis(json.dumps(value).encode())


class ScribbleContract:
    """Does to the state whatever the body says; `refuse` at the end refuses it all."""

    name = "scribble"
    version = 1

    def methods(self) -> Mapping[str, Method]:
        return {"write": _write, "count": _count, "copy": _copy, "flood": _flood, "parts": _parts}


def _write(host: Host, body: Mapping[str, Json]) -> None:
    for key, value in _pairs(body, "put"):
        host.put(key, value)
    for key in _texts(body, "delete"):
        host.delete(key)
    for topic in _texts(body, "emit"):
        host.emit(topic, {"height": host.height()})
    for port in _texts(body, "send"):
        content: Json = {"object_id": f"testing:{host.transaction_id()}"}
        host.send_packet(port, {"header": {"seal": [], "content": content}, "text": "x"})
    if "refuse" in body:
        raise Refusal(str(body["refuse"]), sender=host.sender().did)
    if "crash" in body:
        raise ZeroDivisionError


def _count(host: Host, body: Mapping[str, Json]) -> None:
    """Sees what earlier transactions of the block wrote."""
    number = host.get("counter") or 0
    assert isinstance(number, int)
    host.put("counter", number + 1)
    entries = host.scan(str(body.get("under", "")), 100)
    host.emit("scribble.seen", {"keys": [key for key, _ in entries]})


def _copy(host: Any, body: Mapping[str, Json]) -> None:
    host.put("copied", host.read(body["contract"], body["key"]) or "nothing")


def _flood(host: Host, body: Mapping[str, Json]) -> None:
    kind, amount = body["kind"], body["amount"]
    assert isinstance(amount, int)
    for number in range(amount if kind != "value" else 1):
        if kind == "writes":
            host.put(f"flood/{number}", number)
        elif kind == "deletes":
            host.delete(f"flood/{number}")
        elif kind == "events":
            host.emit("scribble.flood", number)
        elif kind == "output":
            host.put(f"flood/{number}", "x" * (FLOOD_VALUE_BYTES - 2))
        elif kind == "packets":
            host.send_packet("data_object", number)
        else:
            host.put("flood", "x" * amount)


def _parts(host: Any, body: Mapping[str, Json]) -> None:
    """Two attempts: one refuses, one holds; then what `send` names."""

    def bad() -> None:
        host.put("bad", 1)
        host.emit("scribble.bad", 1)
        host.send_packet("data_object", 1)
        raise Refusal("PART_BAD")

    def good() -> None:
        host.put("good", 1)

    refusal = host.attempt(bad)
    assert refusal.code == "PART_BAD"
    assert host.attempt(good) is None
    host.within("other", lambda: host.put("there", 1))
    host.put("here", 1)
    for port in _texts(body, "send"):
        host.send_packet(port, 1)


def _pairs(body: Mapping[str, Json], name: str) -> Iterator[tuple[str, Json]]:
    value = body.get(name, {})
    assert isinstance(value, dict)
    return iter(value.items())


def _texts(body: Mapping[str, Json], name: str) -> list[str]:
    value = body.get(name, [])
    assert isinstance(value, list)
    return [str(entry) for entry in value]


CATALOGUE = Catalogue([IdentityContract(), ScribbleContract()])


def payload_of(
    method: str = "write", body: dict[str, Any] | None = None, **changes: Any
) -> Payload:
    """An operation of the clerk; the request id is new unless it is given."""
    standard = Payload(
        chain=CHAIN,
        maker=(CLERK, "k1"),
        checker=None,
        organisation=MARKET,
        request_id=str(uuid.uuid4()),
        expires_height=100,
        expires_time_ms=GENESIS_TIME_MS + 300_000,
        after=None,
        contract="scribble",
        method=method,
        business_time=None,
        body=body or {},
    )
    return replace(standard, **changes)


def signed(payload: Payload) -> SignedTransaction:
    data = payload.to_bytes()
    keys = [public_key(*signer) for signer in (payload.maker, payload.checker) if signer]
    message = transaction_sign_bytes(data)
    return SignedTransaction(data, tuple((key, sign(key, message)) for key in keys))


def id_of(payload: Payload) -> bytes:
    return signed(payload).id()


class MemoryState:
    """A `StateReader` over a dictionary."""

    def __init__(self, entries: Mapping[bytes, bytes]) -> None:
        self.entries = dict(entries)

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return ((k, self.entries[k]) for k in sorted(self.entries) if k.startswith(prefix))

    def executed(self, transaction_id: bytes) -> bool:
        return any(transaction_id in executed_ids(v) for _, v in self.scan(EXECUTED_PREFIX))

    def change(self, writes: Mapping[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


@dataclass
class MemoryChain:
    """Executes blocks one after another, without disk."""

    genesis: Genesis = field(default_factory=lambda: genesis_of(genesis_json()))
    catalogue: Catalogue = CATALOGUE
    programs: StarPrograms | None = None
    """Kept from block to block; None: each block begins without."""

    def __post_init__(self) -> None:
        self.state = MemoryState(genesis_state(self.genesis))
        self.header: BlockHeader = genesis_header(self.genesis)

    def execute(self, *payloads: Payload, time_ms: int = 0) -> BlockResult:
        return self.execute_signed(*map(signed, payloads), time_ms=time_ms)

    def execute_signed(self, *transactions: SignedTransaction, time_ms: int = 0) -> BlockResult:
        batch = Batch(
            max(time_ms, self.header.block_time_ms),
            tuple(transaction.encode() for transaction in transactions),
        )
        result = execute_block(
            self.state,
            genesis=self.genesis,
            catalogue=self.catalogue,
            parent=self.header,
            batch=batch,
            transactions=[read_transaction(encoded) for encoded in batch.transactions],
            verify=verify,
            programs=self.programs,
        )
        self.state.change(result.write_set)
        pages: dict[bytes, bytes] = {}
        update = apply(pages.__getitem__, None, changes_of(self.state.entries), 0)
        self.header = result.header(update.root)
        return result

    def receipt(self, payload: Payload, *, time_ms: int = 0) -> Receipt:
        return self.execute(payload, time_ms=time_ms).receipts[0]

    def value(self, key: str) -> Any:
        stored = self.state.get(f"scribble/{key}".encode())
        return None if stored is None else json.loads(stored)

    def skip_to(self, height: int) -> None:
        """Act as if empty blocks had come up to `height`."""
        self.header = replace(self.header, height=height)
