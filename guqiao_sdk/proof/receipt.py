"""Receipts: what came of a transaction, for ever.

A receipt is a leaf of its block's receipts root. A business refusal has a code and no events; a
retry answers the first outcome again and names the transaction that was executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer

EVENTS_MAX: Final = 4_096
DETAIL_DEPTH_MAX: Final = 16
"""No detail nests deeper."""

PREDECESSOR_MISSING: Final = "PREDECESSOR_MISSING"
SIGNED_BY_ANOTHER: Final = "KEY_MISMATCH"
"""The payload of somebody else under another key: an id does not cover the signatures, so what is
refused is this copy, and never the transaction that its maker signed.
"""

NOT_EXECUTED_CODES: Final = frozenset(
    (
        "TRANSACTION_DUPLICATE",
        "TRANSACTION_EXPIRED",
        PREDECESSOR_MISSING,
        "BLOCK_FULL",
        SIGNED_BY_ANOTHER,
    )
)
"""Refusals after which the same transaction may still be executed, or was executed before."""


class Outcome(IntEnum):
    """What a transaction did."""

    APPLIED = 1  # its effects are in the state
    REFUSED = 2  # a rule refused it; no effect but the request binding
    REPLAYED = 3  # the same request again: the first outcome, no new effect


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that a contract announced: a topic and a canonical JSON body."""

    topic: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """`code` is empty when accepted; `detail` is canonical JSON: the facts of a refusal, result and
    gas of a call in star/1, else `{}`.

    For REPLAYED, `replay_of` is the id of the transaction executed first and `code` its outcome;
    else it is empty.
    """

    transaction_id: bytes
    outcome: Outcome
    code: str
    detail: bytes
    replay_of: bytes
    events: tuple[Event, ...]

    @property
    def accepted(self) -> bool:
        """Whether the operation stands (now, or since it was first executed)."""
        return self.code == ""

    def encode(self) -> bytes:
        """The canonical encoding: the leaf under the receipts root."""
        writer = Writer().raw(self.transaction_id).u8(self.outcome).text(self.code)
        writer.blob(self.detail).blob(self.replay_of).u32(len(self.events))
        for event in self.events:
            writer.text(event.topic).blob(event.body)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> Receipt:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        transaction_id, number = reader.raw(32), reader.u8()
        try:
            outcome = Outcome(number)
        except ValueError as error:
            raise MalformedError(f"{number} is no outcome") from error
        code, detail, replay_of = reader.text(128), reader.blob(), reader.blob(32)
        if (outcome is Outcome.APPLIED and code) or (outcome is Outcome.REFUSED and not code):
            raise MalformedError(f"outcome {outcome.name} with the code {code!r}")
        if len(replay_of) != (32 if outcome is Outcome.REPLAYED else 0):
            raise MalformedError(f"outcome {outcome.name} with a replay of {len(replay_of)} bytes")
        count = reader.count(EVENTS_MAX)
        events = tuple(Event(reader.text(128), reader.blob()) for _ in range(count))
        reader.end()
        return Receipt(transaction_id, outcome, code, detail, replay_of, events)


def is_final(receipt: Receipt) -> bool:
    """Whether this receipt is the transaction's own for ever, not merely that of an attempt."""
    return receipt.outcome is not Outcome.REFUSED or receipt.code not in NOT_EXECUTED_CODES
