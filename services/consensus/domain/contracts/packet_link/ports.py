"""Which packets a chain takes, and who hears of what became of those that it sent.

The tables are the allow-lists of the versions from 3 on: nothing else is reachable from another
chain (reliability G28). A port has one class of packets, because both classes count the sequences
of one port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.packet import PacketClass
from services.consensus.domain.contracts import packets
from services.consensus.domain.contracts.packet_link import messages
from services.consensus.domain.contracts.packet_link.settled import Settled
from services.consensus.domain.contracts.packets import Port
from services.consensus.domain.contracts.packets_host import LinkHost, regulatory_chain


@dataclass(frozen=True, slots=True)
class LinkPort:
    """One port of this chain, and the class of the packets that come to it."""

    port: Port
    packet_class: PacketClass


def _unordered(record: packets.Record) -> LinkPort:
    port = Port(packets.NAME, record, messages.refuse_message)
    return LinkPort(port, PacketClass.UNORDERED)


def _of_markets(data_object: Port, relay_message: packets.Record) -> Mapping[str, LinkPort]:
    return {
        "data_object": LinkPort(data_object, PacketClass.ORDERED),
        messages.MESSAGE: _unordered(relay_message),
    }


_OF_MARKETS: Final = _of_markets(packets.SCREENED_PORTS[3]["data_object"], messages.relay_message)
_CERTIFIED_OF_MARKETS: Final = _of_markets(packets.CERTIFIED_PORT, messages.relay_certified_message)
_JUDGED_OF_MARKETS: Final = _of_markets(packets.JUDGED_PORT, messages.relay_marked_message)
_MARKETS_BY_VERSION: Final = {3: _OF_MARKETS, 4: _CERTIFIED_OF_MARKETS, 5: _JUDGED_OF_MARKETS}
_OF_THE_REGULATOR: Final = {
    messages.DELIVERY: _unordered(messages.keep_message),
    messages.RESULT: _unordered(messages.keep_result),
}

SENDERS: Final[Mapping[str, Callable[[LinkHost, Settled], None]]] = {
    messages.MESSAGE: messages.hear_of_message,
    messages.DELIVERY: messages.hear_of_delivery,
}
"""By port: what the sending end does, once for each packet and after it is marked."""


def ports_of(host: LinkHost, source: str, version: int) -> Mapping[str, LinkPort]:
    """The ports at which this chain takes packets of `source`: the regulatory chain takes those of
    markets, a market those of the regulatory chain it reports to, and nobody any other. What is
    asked of a market's objects depends on the version of `packets`.
    """
    regulator = regulatory_chain(host)
    if regulator is None:
        return _MARKETS_BY_VERSION[version]
    return _OF_THE_REGULATOR if source == regulator else {}
