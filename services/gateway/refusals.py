"""Which of the packets that went together a refusal is about."""

from __future__ import annotations

from collections.abc import Sequence

from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.packet import Packet
from services.chassis.errors import ServiceError
from services.gateway.domain.relay import Remedy, late_packets, remedy_for
from services.gateway.store import SentPacket


def late_of(packets: Sequence[SentPacket], error: GuqiaoError) -> list[Packet]:
    """What a refusal as expired is about, if that is what it is. A thousand packets after an outage
    are not refused one by one.
    """
    is_expired = remedy_for(error.code, 0) is Remedy.TIME_OUT
    return late_packets([sent.packet for sent in packets], error.fields) if is_expired else []


def named_by(error: GuqiaoError | ServiceError, packets: Sequence[SentPacket]) -> list[SentPacket]:
    """The packet that a refusal names, if it is one of these."""
    named = error.fields.get("port"), str(error.fields.get("sequence"))
    return [each for each in packets if named == (each.packet.port, str(each.packet.sequence))]
