"""One operation under way: its host, the market's parameters and its time.

Opening an operation checks what all of them share, in this order: who signed, that the market is
configured, and the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register import business_time, roles, state
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.records import Market


@dataclass(frozen=True, slots=True)
class Operation:
    """What every part of an operation needs to know."""

    host: Host
    market: Market
    event_key: str
    """The key of the evidence table: the method, or `transfer.` and the reason."""
    time: str
    unix_seconds: int

    @property
    def day(self) -> str:
        """Return D, the date of the event."""
        return self.time[:10]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The digest of a document that the operation rests on."""

    kind: str
    digest: str


def open_operation(host: Host, method: str, *, event_key: str | None = None) -> Operation:
    """Admit the signers and take the time, or refuse."""
    parameters = state.get_parameters(host)
    roles.require_maker_and_checker(host, checker_required=method in parameters.checker_required)
    market = state.find_market(host)
    if market is None:
        raise Refusal("MARKET_NOT_CONFIGURED")
    time, seconds = business_time.advance(host, historic_import=parameters.historic_import)
    return Operation(host, market, event_key or method, time, seconds)


def read_evidence(body: Members) -> tuple[Evidence, ...]:
    """Read the evidence that every operation carries; it may be empty."""
    return body.rows("evidence", _read_document, count_min=0)


def _read_document(document: Members) -> Evidence:
    return Evidence(document.text("kind"), document.digest("digest"))
