"""An attempt: a part of a call whose effects all happen or none do.

A packet's handler runs on an attempt, so that one bad packet leaves nothing behind but its error
acknowledgement and the good ones beside it stand (reliability G30). A handler sends no packets and
reaches no method of the packets contract, so it cannot re-enter it (G29).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import NoReturn

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Party


@dataclass(slots=True)
class Attempt:
    """A host over another one; nothing reaches that one before `apply`."""

    base: Host
    _writes: dict[str, Json] = field(default_factory=dict)
    _events: list[tuple[str, Json]] = field(default_factory=list)

    def apply(self) -> None:
        """Carry the attempt's writes and events over, in the order in which they were made."""
        for key, value in self._writes.items():
            if value is None:
                self.base.delete(key)
            else:
                self.base.put(key, value)
        for topic, body in self._events:
            self.base.emit(topic, body)

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included."""
        if key in self._writes:
            return copy.deepcopy(self._writes[key])
        return self.base.get(key)

    def put(self, key: str, value: Json) -> None:
        """Write `value` under `key`."""
        assert value is not None
        self._writes[key] = copy.deepcopy(value)

    def delete(self, key: str) -> None:
        """Remove `key`."""
        self._writes[key] = None

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        """Return at most `limit` entries under `prefix`, own writes seen."""
        own = {key: value for key, value in self._writes.items() if key.startswith(prefix)}
        entries = {**dict(self.base.scan(prefix, limit + len(own))), **own}
        kept = sorted(key for key, value in entries.items() if value is not None)
        return [(key, copy.deepcopy(entries[key])) for key in kept[:limit]]

    def emit(self, topic: str, body: Json) -> None:
        """Add an event."""
        self._events.append((topic, copy.deepcopy(body)))

    def sender(self) -> Party:
        """Return the maker."""
        return self.base.sender()

    def checker(self) -> Party | None:
        """Return the second signer."""
        return self.base.checker()

    def height(self) -> int:
        """Return the height of the block being executed."""
        return self.base.height()

    def block_time_ms(self) -> int:
        """Return the block time."""
        return self.base.block_time_ms()

    def business_time(self) -> str | None:
        """Return the operation's own time."""
        return self.base.business_time()

    def transaction_id(self) -> str:
        """Return the id of the transaction."""
        return self.base.transaction_id()

    def send_packet(self, port: str, body: Json) -> NoReturn:
        """Handlers send none: that would let a packet cause packets without end."""
        raise AssertionError(f"a packet handler tried to send a packet on {port} of {body!r:.80}")
