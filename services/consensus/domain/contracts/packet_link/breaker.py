"""Unusual volume opens a breaker, and people can pause a link (reliability G38, G40).

Per sender and port at most so many packets and bytes are taken in a window of block time. The
sender is the source, and of a message that it sends on the chain whose that is. The transaction
that passes a limit is the last one taken: proven packets are not the danger, an unusual flow of
them is. From then on the port refuses that sender until those who answer for this chain have looked
and close it. Nothing is lost: packets stay on their chain, and relayers come again.

    breaker/<sender>/<port>  status, window_start_ms, packets, bytes
    limits/<sender>/<port>   packets_max, bytes_max, window_ms, where they are not `LIMITS`
    paused/<source>          reason and who paused it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, sender_of
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import (
    natural,
    require_members,
    text,
)
from services.consensus.domain.contracts.signers import require_answerable

OPEN: Final = "OPEN"
CLOSED: Final = "CLOSED"
REASON_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """What one source may bring to one port in a window of block time."""

    packets_max: int
    bytes_max: int
    window_ms: int

    def to_json(self) -> dict[str, Json]:
        """As the state holds it."""
        return {
            "packets_max": self.packets_max,
            "bytes_max": self.bytes_max,
            "window_ms": self.window_ms,
        }


LIMITS: Final = Limits(packets_max=500_000, bytes_max=4 * 1024**3, window_ms=3_600_000)
"""In an hour: the backlog of an outage passes (139 packets a second), a runaway does not."""


def require_running(host: Host, chain: str) -> None:
    """Refuse whatever comes from or is proven of a chain whose link is paused."""
    if host.get(_paused_key(chain)) is not None:
        raise Refusal("LINK_PAUSED", chain=chain)


def require_closed(host: Host, packet: Packet) -> None:
    """Refuse a packet of a sender and port whose breaker is open."""
    sender, port = sender_of(packet), packet.port
    breaker = _breaker(host, sender, port)
    if breaker["status"] == OPEN:
        raise Refusal("BREAKER_OPEN", source=sender, port=port, since=breaker["opened_height"])


def count(host: Host, packets: Iterable[Packet]) -> None:
    """Add packets that were taken for the first time; open the breaker of a port that passes its
    limits by them.
    """
    sizes: dict[tuple[str, str], list[int]] = {}
    for packet in packets:
        sizes.setdefault((sender_of(packet), packet.port), []).append(len(packet.payload))
    for (sender, port), taken in sorted(sizes.items()):
        _count_at(host, sender, port, len(taken), sum(taken))


def _count_at(host: Host, source: str, port: str, packets: int, size: int) -> None:
    limits, breaker = _limits(host, source, port), _breaker(host, source, port)
    if host.block_time_ms() - breaker["window_start_ms"] >= limits.window_ms:
        breaker = _closed(host)
    breaker["packets"] += packets
    breaker["bytes"] += size
    if breaker["packets"] > limits.packets_max or breaker["bytes"] > limits.bytes_max:
        breaker |= {"status": OPEN, "opened_height": host.height()}
        counted = {name: breaker[name] for name in ("window_start_ms", "packets", "bytes")}
        facts: dict[str, Json] = {"source": source, "port": port, **counted, **limits.to_json()}
        host.emit("packet.breaker_opened", facts)
    host.put(_breaker_key(source, port), breaker)


def close_breaker(host: Host, body: Mapping[str, Json]) -> None:
    """Take packets of a source at a port again; a new window begins."""
    require_answerable(host)
    require_members(body, "", "source port reason")
    source, port = text(body["source"], "source"), text(body["port"], "port")
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    if _breaker(host, source, port)["status"] != OPEN:
        raise Refusal("ILLEGAL_TRANSITION", state=CLOSED, event="close_breaker", source=source)
    host.put(_breaker_key(source, port), _closed(host))
    facts: dict[str, Json] = {"source": source, "port": port, "reason": reason}
    host.emit("packet.breaker_closed", {**facts, **_signers(host)})


def set_limits(host: Host, body: Mapping[str, Json]) -> None:
    """Set what one source may bring to one port, from the next packets on."""
    require_answerable(host)
    require_members(body, "", "source port packets_max bytes_max window_ms")
    source, port = text(body["source"], "source"), text(body["port"], "port")
    numbers = [natural(body[name], name) for name in ("packets_max", "bytes_max", "window_ms")]
    limits = Limits(*numbers)
    host.put(_limits_key(source, port), limits.to_json())
    facts: dict[str, Json] = {"source": source, "port": port, **limits.to_json()}
    host.emit("packet.limits_set", {**facts, **_signers(host)})


def pause(host: Host, body: Mapping[str, Json]) -> None:
    """Take nothing from a chain, and believe nothing of it, until it is resumed."""
    require_answerable(host)
    require_members(body, "", "chain reason")
    chain = text(body["chain"], "chain")
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    if host.get(_paused_key(chain)) is not None:
        raise Refusal("ILLEGAL_TRANSITION", state="PAUSED", event="pause", chain=chain)
    facts: dict[str, Json] = {"reason": reason, **_signers(host)}
    host.put(_paused_key(chain), {**facts, "height": host.height()})
    host.emit("packet.link_paused", {"chain": chain, **facts})


def resume(host: Host, body: Mapping[str, Json]) -> None:
    """Let a paused link go on."""
    require_answerable(host)
    require_members(body, "", "chain reason")
    chain = text(body["chain"], "chain")
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    if host.get(_paused_key(chain)) is None:
        raise Refusal("ILLEGAL_TRANSITION", state="RUNNING", event="resume", chain=chain)
    host.delete(_paused_key(chain))
    host.emit("packet.link_resumed", {"chain": chain, "reason": reason, **_signers(host)})


def _signers(host: Host) -> dict[str, Json]:
    checker = host.checker()
    assert checker is not None, "two persons signed"
    return {"maker": host.sender().did, "checker": checker.did}


def _limits(host: Host, source: str, port: str) -> Limits:
    kept: Any = host.get(_limits_key(source, port))
    return LIMITS if kept is None else Limits(**kept)


def _breaker(host: Host, source: str, port: str) -> dict[str, Any]:
    kept: Any = host.get(_breaker_key(source, port))
    return _closed(host) if kept is None else kept


def _closed(host: Host) -> dict[str, Any]:
    """A breaker at the beginning of a window."""
    start = host.block_time_ms()
    return {"status": CLOSED, "window_start_ms": start, "packets": 0, "bytes": 0}


def _breaker_key(source: str, port: str) -> str:
    return f"breaker/{source}/{port}"


def _limits_key(source: str, port: str) -> str:
    return f"limits/{source}/{port}"


def _paused_key(chain: str) -> str:
    return f"paused/{chain}"
