"""A receipt of the chain: its JSON and its hash.

The hash covers version, gas, contract address, status, output, events and block number one behind
the other. Gas, address, status and number have borders that stand fast. Where the output ends and
events begin, and what of an event is topic and what data, the hash does not say: these bytes are
proven as one piece, and nobody is told more. Nor does a receipt name its transaction: it belongs to
the one at the same place of the block (`execution.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import MALFORMED, Fields
from guqiao_sdk.proof.fisco.transaction import ADDRESS_BYTES
from guqiao_sdk.proof.json_values import Json

OUTPUT_BYTES_MAX: Final = 4 * 1024 * 1024
EVENTS_MAX: Final = 4_096
TOPICS_MAX: Final = 4
STATUS_BOUND: Final = 1 << 24
"""So that the four bytes of a status begin with a zero byte, which ends the digits before it."""

_PIECE: Final = "receipt"
_CONTRACT: Final = re.compile(r"(?:0x[0-9a-f]{40})?")
_EVENT_ADDRESS: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class FiscoReceipt:
    """One receipt. `status` 0 is success; `tail` is output and events in one piece."""

    gas_used: str
    contract: str
    status: int
    tail: bytes
    number: int

    def hash(self) -> bytes:
        """What stands under the receipts root."""
        hashed = (
            bytes(4),
            self.gas_used.encode(),
            self.contract.encode(),
            self.status.to_bytes(4, "big"),
            self.tail,
            self.number.to_bytes(8, "big"),
        )
        return sm3(b"".join(hashed))


def parse_receipt(value: Json) -> FiscoReceipt:
    """The receipt in the result of `getTransactionReceipt`, its hash checked; raises
    `ProofError`.
    """
    fields = Fields.of(_PIECE, value)
    version = fields.integer("version", 1 << 32)
    if version != 0:
        raise ProofError(
            _PIECE, f"version {version} is not one that can be verified", "OBSERVED_VERSION_UNKNOWN"
        )
    contract = fields.text("contractAddress", 2 + 2 * ADDRESS_BYTES)
    if not _CONTRACT.fullmatch(contract):
        raise ProofError(_PIECE, "contractAddress is not in lower-case hex", MALFORMED)
    receipt = FiscoReceipt(
        gas_used=fields.decimal("gasUsed"),
        contract=contract.removeprefix("0x"),
        status=fields.integer("status", STATUS_BOUND),
        tail=fields.hexed("output", OUTPUT_BYTES_MAX) + _read_events(fields),
        number=fields.integer("blockNumber"),
    )
    if receipt.hash() != fields.hashed("hash"):
        raise ProofError(_PIECE, "its hash is not that of its fields")
    return receipt


def _read_events(fields: Fields) -> bytes:
    parts = []
    for row in fields.rows("logEntries", EVENTS_MAX):
        event = Fields.of(_PIECE, row)
        address = event.text("address", 2 + 2 * ADDRESS_BYTES)
        if not _EVENT_ADDRESS.fullmatch(address):
            raise ProofError(_PIECE, "address is not in lower-case hex", MALFORMED)
        parts.append(address.encode())
        for topic in event.rows("topics", TOPICS_MAX):
            parts.append(Fields(_PIECE, {"topics": topic}).hashed("topics"))
        parts.append(event.hexed("data", OUTPUT_BYTES_MAX))
    return b"".join(parts)
