"""`packets` from version 3 on. A genesis says which a chain runs; others stay as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from services.consensus.domain.contracts.host import Method
from services.consensus.domain.contracts.packet_link import breaker
from services.consensus.domain.contracts.packet_link.messages import send_message
from services.consensus.domain.contracts.packet_link.receiving import receive
from services.consensus.domain.contracts.packet_link.reporting import amend_object, resubmit_object
from services.consensus.domain.contracts.packet_link.settling import acknowledge, give_up, time_out
from services.consensus.domain.contracts.packets import NAME

CERTIFIED_FROM: Final = 4
JUDGED_FROM: Final = 5
"""Needs version 2 of `objects` on the regulatory chain."""


@dataclass(frozen=True, slots=True)
class LinkedPacketsContract:
    """`packets` v3: what version 2 has, with classes, deadlines and time-outs. Version 4 asks for
    certificates of the keys that seal what registered chains send. Version 5 marks the sources of
    what it sends and asks for the mark, takes the whole life cycle of data objects, and lets a
    market send again what was refused, and correct what was taken.
    """

    version: int = 3
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """`receive` at the destination, `acknowledge` and `time_out` at the source, for relayers;
        the others for those who answer for this chain, `give_up` for both.
        """
        judged = self.version >= JUDGED_FROM
        methods: dict[str, Method] = {
            "receive": partial(receive, version=self.version),
            "acknowledge": acknowledge,
            "time_out": time_out,
            "give_up": give_up,
            "send_message": partial(send_message, version=self.version if judged else None),
            "close_breaker": breaker.close_breaker,
            "set_limits": breaker.set_limits,
            "pause": breaker.pause,
            "resume": breaker.resume,
        }
        if judged:
            methods["resubmit_object"] = partial(resubmit_object, version=self.version)
            methods["amend_object"] = partial(amend_object, version=self.version)
        return methods
