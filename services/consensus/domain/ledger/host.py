"""The chain as one call of one contract sees it: reads, bounded writes, events and packets.

Everything lands in a layer above the block's state and is taken over only if the call returns; a
refusal drops it whole. The contract sees the values of its own namespace and may read others.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from guqiao_sdk.proof.packet import (
    PACKET_PAYLOAD_BYTES_MAX,
    Packet,
    Terms,
    commitment_key,
    terms_key,
)
from guqiao_sdk.proof.receipt import EVENTS_MAX, Event
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX
from services.consensus.domain.contracts.host import (
    OUTPUT_BYTES_MAX,
    WRITES_MAX,
    Party,
    Refusal,
)
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.keys import PACKETS, contract_key, packet_sequence_key
from services.consensus.domain.ledger.state import KEY_BYTES_MAX, Layer, Readable

PACKETS_MAX: Final = 256
VALUE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 65_536
"""Whatever a transaction can bring may be kept, with some facts beside it."""

EVENT_FRAME_BYTES: Final = 8
SCAN_ENTRIES_MAX: Final = 1 << 24
"""A full recount reads every position; a method that business may call asks for far fewer."""

_PACKET_TOPICS: Final = "packet."
_PORT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TOPIC = re.compile(r"[a-z][a-z0-9_.]{0,127}")


@dataclass(frozen=True, slots=True)
class CallContext:
    """What one call is about: chain, block, transaction and its signers."""

    chain_id: str
    destination: str | None
    height: int
    block_time_ms: int
    transaction: AdmittedTransaction
    maker: Party
    checker: Party | None
    verify: Verify


class LedgerHost:
    """Implements `contracts.host.Host`, and what system contracts need beyond it, for one call.

    `writes` and `events` are the call's effects, `output_bytes` their size.
    """

    __slots__ = ("_context", "_contract", "_packets", "events", "output_bytes", "writes")

    def __init__(self, state: Readable, context: CallContext, contract: str) -> None:
        self._context = context
        self._contract = contract
        self._packets = 0
        self.output_bytes = 0
        self.writes = Layer(state)
        self.events: list[Event] = []

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included, or None."""
        return read_json(self.writes, contract_key(self._contract, key))

    def read(self, contract: str, key: str) -> Json | None:
        """Return the value of another contract's key, or None. There is no way to write it."""
        return read_json(self.writes, contract_key(contract, key))

    def put(self, key: str, value: Json) -> None:
        """Write `value`, which is not None, under `key`."""
        assert value is not None, "a stored null does not exist: delete"
        self._write(contract_key(self._contract, key), value)

    def delete(self, key: str) -> None:
        """Remove `key`; no effect when it is absent."""
        full_key = contract_key(self._contract, key)
        _limit("key_bytes", len(full_key), KEY_BYTES_MAX)
        if self.writes.get(full_key) is not None:
            self.writes.put(full_key, None)
            _limit("writes", len(self.writes.writes), WRITES_MAX)

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        """Return at most `limit` entries under `prefix`, by bytes of the key, own writes seen."""
        return list(self.entries(prefix, limit))

    def entries(self, prefix: str, limit: int) -> Iterator[tuple[str, Json]]:
        """The same, each read when it is asked for; nothing may be written meanwhile."""
        assert 0 < limit <= SCAN_ENTRIES_MAX
        cut, start = len(self._contract.encode()) + 1, contract_key(self._contract, prefix)
        if len(start) > KEY_BYTES_MAX:
            return  # No key that long can be written, and the index cannot be asked for it.
        for key, value in itertools.islice(self.writes.scan(start), limit):
            yield key[cut:].decode(), json.loads(value)

    def emit(self, topic: str, body: Json) -> None:
        """Add an event to the receipt.

        Packet topics are evidence in proof bundles: only the packets contract and the host have
        them.
        """
        assert _TOPIC.fullmatch(topic), topic
        assert not topic.startswith(_PACKET_TOPICS) or self._contract == PACKETS, topic
        self._announce(topic, self._encode(body))

    def _announce(self, topic: str, encoded: bytes) -> None:
        self.events.append(Event(topic, encoded))
        _limit("events", len(self.events), EVENTS_MAX)
        self._count(len(encoded) + len(topic) + EVENT_FRAME_BYTES)

    def sender(self) -> Party:
        """Return the maker."""
        return self._context.maker

    def checker(self) -> Party | None:
        """Return the second signer, where there is one."""
        return self._context.checker

    def height(self) -> int:
        """Return the height of the block being executed."""
        return self._context.height

    def block_time_ms(self) -> int:
        """Return the block time."""
        return self._context.block_time_ms

    def business_time(self) -> str | None:
        """Return the operation's own time, where it has one."""
        return self._context.transaction.payload.business_time

    def transaction_id(self) -> str:
        """Return the id of the transaction in hex."""
        return self._context.transaction.id.hex()

    def verify_signature(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Return whether an SM2 signature holds; never raises on bytes from outside."""
        return self._context.verify(public_key, message, signature)

    def attempt(self, call: Callable[[], None]) -> Refusal | None:
        """Run `call`; if it refuses, drop its writes, events and packets and return the refusal."""
        layer, events, packets = self.writes, len(self.events), self._packets
        self.writes = Layer(layer)
        try:
            call()
        except Refusal as refusal:
            self.writes, self._packets = layer, packets
            del self.events[events:]
            return refusal
        layer.absorb(self.writes)
        self.writes = layer
        _limit("writes", len(layer.writes), WRITES_MAX)
        return None

    def within(self, contract: str, call: Callable[[], None]) -> None:
        """Run `call` with keys relative to `contract`: how packets reach the objects' state."""
        caller = self._contract
        self._contract = contract
        try:
            call()
        finally:
            self._contract = caller

    def send_packet(self, port: str, body: Json) -> None:
        """Commit to a packet for the chain's destination, and announce it as `packet.sent`."""
        context = self._context
        if context.destination is None:
            raise Refusal("PACKET_DESTINATION_NONE", chain=context.chain_id, port=port)
        self._send(context.destination, port, _sealed(body, context.transaction), None)

    def send_to(
        self, destination: str, port: str, body: Json, terms: Terms, *, sealing: str | None = None
    ) -> int:
        """Commit to a packet of format 2 for any chain; returns its sequence.

        The member `sealing` of the body is a data object to fill in the seals of.
        """
        if sealing is not None:
            assert isinstance(body, dict)
            body = {**body, sealing: _sealed(body[sealing], self._context.transaction)}
        packet = self._send(destination, port, body, terms)
        key = terms_key(destination, port, packet.sequence)
        self._write(key.encode(), terms.to_json())
        return packet.sequence

    def _send(self, destination: str, port: str, body: Json, terms: Terms | None) -> Packet:
        assert _PORT.fullmatch(port), port
        self._packets += 1
        _limit("packets", self._packets, PACKETS_MAX)
        counter = packet_sequence_key(destination, port)
        last = read_json(self.writes, counter) or 0
        assert isinstance(last, int)
        payload = self._encode(body)
        _limit("packet_bytes", len(payload), PACKET_PAYLOAD_BYTES_MAX)
        packet = Packet(self._context.chain_id, destination, port, last + 1, payload, terms)
        commitment = packet.commitment().hex()
        self._write(counter, packet.sequence)
        self._write(commitment_key(destination, port, packet.sequence).encode(), commitment)
        self._announce("packet.sent", self._limited(packet_sent(packet, commitment)))
        return packet

    def _write(self, key: bytes, value: Json) -> None:
        _limit("key_bytes", len(key), KEY_BYTES_MAX)
        encoded = self._encode(value)
        self.writes.put(key, encoded)
        _limit("writes", len(self.writes.writes), WRITES_MAX)
        self._count(len(encoded))

    def _encode(self, value: Json) -> bytes:
        try:
            encoded = canonical_json(value)
        except JsonError as error:
            raise AssertionError("a contract made a value that is not JSON") from error
        return self._limited(encoded)

    def _limited(self, encoded: bytes) -> bytes:
        _limit("value_bytes", len(encoded), VALUE_BYTES_MAX)
        return encoded

    def _count(self, size: int) -> None:
        self.output_bytes += size
        _limit("output_bytes", self.output_bytes, OUTPUT_BYTES_MAX)


def packet_sent(packet: Packet, commitment: str) -> bytes:
    """The body of `packet.sent`, as canonical JSON: the payload, which is that already, stands
    within as it is, between the members that are before and behind it in their order.
    """
    terms = {} if packet.terms is None else packet.terms.to_json()
    before: dict[str, Json] = {
        **terms,
        "commitment": commitment,
        "destination": packet.destination,
    }
    behind: dict[str, Json] = {
        "port": packet.port,
        "sequence": packet.sequence,
        "source": packet.source,
    }
    first, last = canonical_json(before), canonical_json(behind)
    return b'%b,"payload":%b,%b' % (first[:-1], packet.payload, last[1:])


def read_json(state: Readable, key: bytes) -> Json | None:
    """Return the decoded value of a state key, or None. The caller owns it.

    A key too long to be written holds nothing; the index must not be asked for it.
    """
    value = state.get(key) if len(key) <= KEY_BYTES_MAX else None
    if value is None:
        return None
    decoded: Json = json.loads(value)
    return decoded


def _limit(name: str, amount: int, maximum: int) -> None:
    if amount > maximum:
        raise Refusal("LIMIT_EXCEEDED", limit=name, maximum=maximum)


def _sealed(body: Json, transaction: AdmittedTransaction) -> Json:
    """Fill `header.seal` of a JR/T 0314 object with the signatures under the operation.

    They cover the transaction's payload, which is what people signed; a verifier finds it by the
    transaction's id.
    """
    if not isinstance(body, dict):
        return body
    header = body.get("header")
    if not isinstance(header, dict) or not isinstance(header.get("seal"), list):
        return body
    return {**body, "header": {**header, "seal": _seals(transaction)}}


def _seals(transaction: AdmittedTransaction) -> list[Json]:
    return [
        {
            "pub_key": {"type": "SM2", "value": public_key.hex()},
            "digest_algo": "SM3",
            "signature": signature.hex(),
        }
        for public_key, signature in transaction.signed.signatures
    ]
