"""View-changes and new-views of peers, which are long and seldom: read and judged a few of each
peer at a time, the last ones, so that who sends thousands delays nobody and is counted (P23).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeAlias

from guqiao_sdk.proof.canonical import MalformedError
from services.consensus.domain.codec import decode_message
from services.consensus.domain.messages import PeerMessage
from services.consensus.exchange import PEER_BYTES_MAX
from services.consensus.fair_queue import FairQueue
from services.consensus.refusals import Reason, Refusals
from services.consensus.surplus import Sent

WAITING_MAX: Final = 4
"""Of one peer; older ones give way: of what it says of views, only the last counts for long."""
REST_SECONDS: Final = 0.02
"""Between two looks at them: a time-out is longer, and whoever sends faster floods."""

Judge: TypeAlias = Callable[[int, list[Sent]], Awaitable[None]]
"""(their epoch, the messages)"""
Framed: TypeAlias = tuple[int, bytes]
"""(the epoch that the frame names, the message as it travels)"""


class ViewChangeIntake:
    """`judge` verifies what was read and gives it to the core; reading is done in `thread`."""

    def __init__(self, refusals: Refusals, thread: Executor, judge: Judge) -> None:
        self._refusals = refusals
        self._thread = thread
        self._judge = judge
        self._waiting: FairQueue[Framed] = FairQueue(
            count_max=WAITING_MAX, bytes_max=PEER_BYTES_MAX
        )

    def put(self, sender: int, epoch: int, encoded: bytes) -> None:
        """A message of `epoch` as it travels. Must not block."""
        dropped = self._waiting.put(sender, (epoch, encoded), len(encoded))
        self._refusals.count(sender, Reason.FLOOD, times=dropped)

    async def run(self) -> None:
        """Read and judge until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            taken = await self._waiting.take(WAITING_MAX)
            messages: defaultdict[int, list[Sent]] = defaultdict(list)
            for sender, epoch, read in await loop.run_in_executor(self._thread, _read, taken):
                if isinstance(read, MalformedError):
                    self._refusals.count(sender, Reason.MALFORMED, str(read))
                else:
                    messages[epoch].append((sender, read))
            for epoch, sent in messages.items():
                await self._judge(epoch, sent)
            await asyncio.sleep(REST_SECONDS)


def _read(
    taken: Sequence[tuple[int, tuple[int, bytes]]],
) -> list[tuple[int, int, PeerMessage | MalformedError]]:
    """Sender, epoch, and what was sent, or why it cannot be read."""
    read: list[tuple[int, int, PeerMessage | MalformedError]] = []
    for sender, (epoch, encoded) in taken:
        try:
            read.append((sender, epoch, decode_message(encoded)))
        except MalformedError as error:
            read.append((sender, epoch, error))
    return read
