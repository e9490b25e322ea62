"""Versions 3 and 4 of `packets`. A genesis says which a chain runs; others stay as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from services.consensus.domain.contracts.host import Method
from services.consensus.domain.contracts.packet_link import breaker
from services.consensus.domain.contracts.packet_link.messages import send_message
from services.consensus.domain.contracts.packet_link.receiving import receive
from services.consensus.domain.contracts.packet_link.settling import acknowledge, give_up, time_out
from services.consensus.domain.contracts.packets import NAME

CERTIFIED_FROM: Final = 4


@dataclass(frozen=True, slots=True)
class LinkedPacketsContract:
    """`packets` v3: what version 2 has, with classes, deadlines and time-outs. Version 4 asks for
    certificates of the keys that seal what registered chains send.
    """

    version: int = 3
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """`receive` at the destination, `acknowledge` and `time_out` at the source, for relayers;
        the others for those who answer for this chain, `give_up` for both.
        """
        return {
            "receive": partial(receive, certified=self.version >= CERTIFIED_FROM),
            "acknowledge": acknowledge,
            "time_out": time_out,
            "give_up": give_up,
            "send_message": send_message,
            "close_breaker": breaker.close_breaker,
            "set_limits": breaker.set_limits,
            "pause": breaker.pause,
            "resume": breaker.resume,
        }
