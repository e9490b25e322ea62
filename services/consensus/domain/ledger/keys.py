"""Where the ledger's own facts stand in the state.

A contract's keys stand under its name; these stand under `ledger`, which no contract may be called,
and under `packets`, whose commitments are proven to other chains (guqiao_sdk.proof.packet).
"""

from __future__ import annotations

from typing import Final

LEDGER: Final = "ledger"
PACKETS: Final = "packets"
PARAMETERS: Final = "parameters"
GENESIS_KEY: Final = b"ledger/genesis"
EXECUTED_PREFIX: Final = b"ledger/executed/"
ID_BYTES: Final = 32


def contract_key(contract: str, key: str) -> bytes:
    """The state key of a contract's key."""
    return f"{contract}/{key}".encode()


def request_key(organisation: str, request_id: str) -> bytes:
    """Holds the body digest, outcome and transaction that a request id is bound to."""
    return f"{LEDGER}/request/{organisation}/{request_id}".encode()


def executed_key(height: int) -> bytes:
    """Holds the ids executed at `height`, back to back; removed when all of them have expired."""
    return EXECUTED_PREFIX + b"%020d" % height


def executed_ids(value: bytes) -> list[bytes]:
    """Read the value of an `executed_key`."""
    assert len(value) % ID_BYTES == 0
    return [value[i : i + ID_BYTES] for i in range(0, len(value), ID_BYTES)]


def packet_sequence_key(destination: str, port: str) -> bytes:
    """Holds the sequence of the last packet sent, as a JSON integer."""
    return f"{PACKETS}/sequence/{destination}/{port}".encode()
