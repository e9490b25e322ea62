"""What a contract sees of the chain, and what the chain sees of a contract.

A contract is a set of pure, deterministic methods. Everything it reads or causes goes through the
`Host`; a business rule that says no raises `Refusal`, and the host then drops every write, event
and packet of the call. The host keeps the receipt and the request identity; a contract does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from guqiao_sdk.proof.json_values import Json

WRITES_MAX: Final = 10_000
OUTPUT_BYTES_MAX: Final = 8 * 1024 * 1024
"""What one call may write and announce; it goes with the block through one frame and one event."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who signed: an identity of this chain with the roles it holds at this height."""

    did: str
    key_id: str
    organisation: str
    roles: frozenset[str]


class Refusal(Exception):  # noqa: N818 - a refusal is an ordinary outcome, not an error
    """A rule said no. `code` is a symbol of the rule catalogue; `fields` are the facts."""

    def __init__(self, code: str, /, **fields: Json) -> None:
        facts = ", ".join(f"{name}={value!r}" for name, value in sorted(fields.items()))
        super().__init__(f"{code}({facts})")
        self.code = code
        self.fields = fields


class Chain(Protocol):
    """The chain as one call of one contract sees it. Keys are relative to the contract."""

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included, or None. A stored null does not exist.

        The value belongs to the caller, who may change it without effect on the state.
        """
        ...

    def put(self, key: str, value: Json) -> None:
        """Write `value`, which is not None, under `key`."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key`; no effect when it is absent."""
        ...

    def entries(self, prefix: str, limit: int) -> Iterable[tuple[str, Json]]:
        """At most `limit` entries under `prefix`, by bytes of the key, own writes seen; each is
        read when it is asked for, and nothing may be written meanwhile.
        """
        ...

    def emit(self, topic: str, body: Json) -> None:
        """Add an event to the receipt."""
        ...

    def sender(self) -> Party:
        """Return the maker: who signed the operation."""
        ...

    def checker(self) -> Party | None:
        """Return the second signer of the same bytes, where there is one."""
        ...

    def height(self) -> int:
        """Return the height of the block being executed."""
        ...

    def block_time_ms(self) -> int:
        """Return the block time: milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def business_time(self) -> str | None:
        """Return the operation's own time, RFC 3339 in seconds with +08:00, where it has one."""
        ...


class Host(Chain, Protocol):
    """What contracts in Python see beyond it."""

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        """Return what `entries` gives, all of it at once."""
        ...

    def transaction_id(self) -> str:
        """Return the id of the transaction, or of the operation in an envelope, in hex."""
        ...

    def send_packet(self, port: str, body: Json) -> None:
        """Send a packet to the regulatory chain, if the transaction takes effect."""
        ...


Method = Callable[[Host, Mapping[str, Json]], None]


class Contract(Protocol):
    """A named, versioned set of methods. Which version is active at a height, the chain decides."""

    @property
    def name(self) -> str:
        """Return the namespace of the contract's keys."""
        ...

    @property
    def version(self) -> int:
        """Return the version, counted from 1."""
        ...

    def methods(self) -> Mapping[str, Method]:
        """Return the active methods by name."""
        ...


def call(contract: Contract, method: str, host: Host, body: Mapping[str, Json]) -> None:
    """Run one method, or refuse with METHOD_UNKNOWN when this version has none of that name."""
    function = contract.methods().get(method)
    if function is None:
        raise Refusal("METHOD_UNKNOWN", contract=contract.name, method=method)
    function(host, body)
