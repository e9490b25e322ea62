"""Deliveries of a relay that are under way at once: while one becomes final at the destination, the
next are proven and sent. Each port has its own, bounded, and in the order of its packets.

What is behind a delivery that fails would be refused on a port that takes packets in order. So
after a failure nothing more is sent until all that is under way has ended; then the port begins
again with what the read model still calls sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Link

from guqiao_sdk.client.chain import ChainClient
from services.chassis.bus.transient import stay_cancelled
from services.chassis.postgres import Pool
from services.gateway.anchoring import traces_of
from services.gateway.domain.relay import ProvenHeader, ProvenPacket, count_fitting
from services.gateway.steps import may_be_made_again
from services.gateway.store import SentPacket
from services.gateway.travel import proven_header

DELIVERIES_AT_ONCE_MAX: Final = 4
"""Of one port. More would wait for each other in the destination's blocks."""

LOOK_SECONDS: Final = 0.15
"""Between looks for packets to send behind what is under way."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Packets of one port, each with the proof of its commitment under one header of the own chain,
    and the traces of the operations that sent them.
    """

    header: ProvenHeader
    pairs: Sequence[tuple[SentPacket, ProvenPacket]]
    parent: Context
    links: Sequence[Link]

    @property
    def sequences(self) -> list[int]:
        """Of its packets."""
        return [sent.packet.sequence for sent, _ in self.pairs]


async def proven_delivery(
    pool: Pool, client: ChainClient, packets: Sequence[SentPacket], height_min: int
) -> Delivery:
    """The packets, as many as one transaction takes, as the own chain's latest header proves them.
    Where a replica answers that lags behind the packets, or behind `height_min`, the header there
    is asked for: the destination takes none that is older than the one before.
    """
    keys = [sent.commitment_key for sent in packets]
    height_min = max(height_min, *(sent.height for sent in packets))
    states = await client.get_state_proofs(keys)
    if states[0].header.height < height_min:
        states = await client.get_state_proofs(keys, height_min)
    proven = [
        ProvenPacket(sent.packet, state.message.proof)
        for sent, state in zip(packets, states, strict=True)
    ]
    pairs = list(zip(packets, proven, strict=True))[: count_fitting(proven)]
    parent, links = await traces_of(pool, [sent for sent, _ in pairs])
    return Delivery(proven_header(client, states[0]), pairs, parent, links)


class OvertookError(Exception):
    """A delivery was refused because one that was sent before it had not taken effect."""


class Send(Protocol):
    """Carry a delivery; returns how many packets were taken. `is_first`: nothing of its port was
    under way when it began, so that no other one can be why it is refused; else a refusal for its
    order is an `OvertookError`.
    """

    def __call__(self, delivery: Delivery, *, is_first: bool) -> Awaitable[int]: ...


@dataclass(frozen=True, slots=True)
class _UnderWay:
    sequences: Sequence[int]
    outcome: asyncio.Task[int | Exception]


@dataclass(slots=True)
class Deliveries:
    """Of all ports of one link. `prepare` makes a port's next delivery without the packets of the
    sequences that it is given, or None where there are no others.
    """

    prepare: Callable[[str, Sequence[int]], Awaitable[Delivery | None]]
    send: Send
    _under_way: dict[str, list[_UnderWay]] = field(default_factory=dict, init=False)
    _carried: Counter[str] = field(default_factory=Counter, init=False)

    async def carry(self, tasks: asyncio.TaskGroup, port: str) -> int:
        """Keep deliveries to a port under way, as tasks of `tasks`, until some have ended; returns
        how many packets were taken since this returned last, 0 once nothing is left to do.

        Raises what the oldest one that failed ran into, after all others have ended as well.
        """
        under_way = self._under_way.setdefault(port, [])
        while not self._carried[port]:
            await self._fill(tasks, port, under_way)
            if not under_way:
                break
            await self._some_ended(port, under_way)
        return self._carried.pop(port, 0)

    async def _fill(self, tasks: asyncio.TaskGroup, port: str, under_way: list[_UnderWay]) -> None:
        while len(under_way) < DELIVERIES_AT_ONCE_MAX:
            sequences = [sequence for each in under_way for sequence in each.sequences]
            delivery = await self.prepare(port, sequences)
            if delivery is None:
                return
            outcome = tasks.create_task(self._outcome(delivery, is_first=not under_way))
            under_way.append(_UnderWay(delivery.sequences, outcome))

    async def _outcome(self, delivery: Delivery, *, is_first: bool) -> int | Exception:
        """What failed by itself ends no task beside it; a bug does."""
        try:
            return await self.send(delivery, is_first=is_first)
        except Exception as error:
            stay_cancelled(error)
            if not isinstance(error, OvertookError) and not may_be_made_again(error):
                raise
            return error

    async def _some_ended(self, port: str, under_way: list[_UnderWay]) -> None:
        """Wait until some end, or for `LOOK_SECONDS`; for all as soon as one of them failed."""
        waiting = [each.outcome for each in under_way]
        done, _ = await asyncio.wait(
            waiting, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if any(isinstance(each.result(), Exception) for each in done):
            done, _ = await asyncio.wait(waiting)
        failures = []
        for outcome in waiting:  # The oldest first.
            if outcome in done:
                found = outcome.result()
                if isinstance(found, int):
                    self._carried[port] += found
                elif not isinstance(found, OvertookError):
                    failures.append(found)
        under_way[:] = [each for each in under_way if each.outcome not in done]
        if failures:
            raise failures[0]
