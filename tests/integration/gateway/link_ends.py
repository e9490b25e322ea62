"""The two ends of a link on which nothing is sent, each by the client that it keeps young."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from services.gateway.freshness import Freshness
from tests.plugins.link_lab import LinkLab
from tests.plugins.service_lab import Lab

PERIOD = 4 * 3_600
"""Seconds; a header is due after an hour, an alarm after two."""
MINUTE_MS = 60_000
REGULATOR, MARKET = "the regulator's", "the market's"


@dataclass
class End:
    """One end of a link: the chain whose client is kept young, and the one that it follows."""

    link: LinkLab
    own: Lab
    other: Lab
    fresh: Freshness

    @property
    def remote(self) -> str:
        return self.other.node.trust.chain_id

    @property
    def client(self) -> Any:
        """The light client as the own chain's state has it; None before its first header."""
        return self.own.node.chain.value(f"light_client/client/{self.remote}")

    @property
    def updates(self) -> int:
        """How often it moved."""
        return sum(
            event.topic == "light_client.updated"
            for block in self.own.node.chain.blocks.values()
            for receipt in block.receipts
            for event in receipt.events
        )

    def another(self) -> Freshness:
        """A further gateway of this end, or this one started anew."""
        make = (
            self.link.regulator_freshness
            if self.own is self.link.regulator
            else self.link.market_freshness
        )
        return make(PERIOD)

    def alarms(self, code: str) -> float:
        """How often the alarm was raised here."""
        labels = {"remote": self.remote, "code": code}
        found = self.own.runtime.telemetry.metrics.registry.get_sample_value(
            "guqiao_gateway_alarms_total", labels
        )
        return found or 0.0


def end_of(link: LinkLab, whose: str) -> End:
    if whose == REGULATOR:
        fresh = link.regulator_freshness(PERIOD)
        return End(link, link.regulator, link.market, fresh)
    return End(link, link.market, link.regulator, link.market_freshness(PERIOD))


async def pass_minutes(link: LinkLab, minutes: float) -> None:
    """Both chains make an empty block so much later, of which their gateways know."""
    for lab in (link.market, link.regulator):
        chain = lab.node.chain
        chain.execute(time_ms=chain.header.block_time_ms + round(minutes * MINUTE_MS))
        await lab.runtime.client.latest()


def change_sets(lab: Lab, times: int) -> None:
    """The chain's next blocks are each the last of an epoch."""
    for _ in range(times):
        lab.node.chain.execute(next_replicas=lab.node.chain.replicas.next_epoch())


async def answer_of(end: End) -> pb.GetPacketAbsencesResponse:
    """What the other gateway answers now."""
    request = pb.GetPacketAbsencesRequest(
        source=end.own.node.trust.chain_id, port="data_object", sequences=[1]
    )
    return await end.fresh.gateway.get_packet_absences(request)


class Saying:
    """The other gateway, which says this."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self.asked = 0

    async def get_packet_absences(self, request: Any) -> Any:
        self.asked += 1
        answer = self._answer()
        return await answer if asyncio.iscoroutine(answer) else answer

    deliver_packets = get_packet_receipts = None
