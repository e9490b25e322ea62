"""Packets that a relay sets aside: what trying again would never bring on, until people decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guqiao_sdk.errors import GuqiaoError
from services.chassis.errors import ServiceError
from services.chassis.postgres import Pool
from services.gateway import open_packets
from services.gateway.domain.relay import PacketState
from services.gateway.refusals import named_by
from services.gateway.store import SentPacket

NEVER_FITS_CODES: Final = frozenset({"REQUEST_TOO_LARGE", "TRANSACTION_TOO_LARGE"})
"""Refusals for size that one packet alone meets every time, unlike a block that is full."""


def is_too_large(packets: Sequence[SentPacket], error: GuqiaoError | ServiceError) -> bool:
    """Whether the receipt of one packet that was delivered is by itself more than may be said."""
    is_alone = len(packets) == 1 and packets[0].state is PacketState.RECEIVED
    return is_alone and error.code in NEVER_FITS_CODES


async def set_aside(pool: Pool, packets: Sequence[SentPacket], error: GuqiaoError) -> bool:
    """Set the packet aside that the destination named; whether there was one. A single packet need
    not be named.
    """
    found = named_by(error, packets) or (packets if len(packets) == 1 else [])
    await park(pool, found, error)
    return bool(found)


async def park(
    pool: Pool,
    packets: Sequence[SentPacket],
    error: GuqiaoError | ServiceError,
    *,
    is_contradicted: bool = False,
) -> None:
    """Set packets aside with the cause; those that are contradicted do not time out either."""
    for sent in packets:
        packet = sent.packet
        async with pool.acquire() as connection:
            await open_packets.park(
                connection,
                destination=packet.destination,
                port=packet.port,
                sequence=packet.sequence,
                cause=f"{error.code}: {told_by(error)}"[:500],
                is_contradicted=is_contradicted,
            )


def told_by(error: GuqiaoError | ServiceError) -> str:
    """What a refusal says, with the detail that its text may leave out: which field it is about."""
    text, detail = str(error), str(error.fields.get("detail", ""))
    return text if detail in text else f"{detail}: {text}"
