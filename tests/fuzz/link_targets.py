"""What comes over packet links beyond version 1: packets with terms, messages and deadlines."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final, cast

from guqiao_sdk.proof.json_values import JsonError, canonical_json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packet_link import messages
from services.consensus.domain.contracts.packet_link.deadlines import read_deadline
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import MALFORMED, json_object, json_value
from tests.unit.xchain.ledger_chain import sent_packets
from tests.unit.xchain.message_chains import Messages

TERMS: Final = Terms(PacketClass.UNORDERED, Deadline(7, 1_756_000_000_000))
NOW_MS: Final = 1_756_000_000_000


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    packet = Packet("shandong", "csrc", "market_message", 3, b"{}", TERMS)
    refused = (Refusal, JsonError)
    payload = _payload()
    message = canonical_json(json.loads(payload)["object"])
    return (
        Target(
            "packet of format 2", Packet.decode, MALFORMED, [packet.encode()], mutations.of_fields,
            lambda v: v.encode(),
        ),
        Target("payload of a message", _read_payload, (Refusal,), [payload], mutations.of_json),
        Target(
            "message", lambda data: messages._read_message(json_object(data), "shandong"), refused,
            [message], mutations.of_json,
        ),
        Target(
            "deadline", lambda data: read_deadline(_CLOCK, json_value(data), "csrc"), refused,
            [canonical_json({"height": 9, "within_ms": 60_000})], mutations.of_json,
        ),
    )  # fmt: skip


def _read_payload(data: bytes) -> object:
    packet = Packet("shandong", "csrc", "market_message", 3, data, TERMS)
    return messages._payload(packet, "to object")


class _Clock:
    """Of a host what a deadline needs; its calendar knows no year."""

    def block_time_ms(self) -> int:
        return NOW_MS

    def read(self, contract: str, key: str) -> None:
        return None


_CLOCK = cast(Any, _Clock())


@cache
def _payload() -> bytes:
    (packet,) = sent_packets(Messages().write("shandong", "beijing"))
    return packet.payload
