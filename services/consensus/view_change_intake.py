"""View-changes and new-views of peers, which are long and seldom: read and judged one of each peer
at a time, of the last ones, so that who sends thousands delays nobody and is counted (P23). To
find out that one is not authentic can take long, so whoever sent it rests for long.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeAlias

from guqiao_sdk.proof.canonical import MalformedError
from services.consensus.credit import Credits
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
FORGERY_SECONDS: Final = 3.0
"""What one that does not hold costs its sender: half a minute in which no other is looked at. No
honest replica sends one.
"""

Judge: TypeAlias = Callable[[int, list[Sent]], Awaitable[set[int]]]
"""(their epoch, the messages) -> whose were not authentic"""
Framed: TypeAlias = tuple[int, bytes]
"""(the epoch that the frame names, the message as it travels)"""


class ViewChangeIntake:
    """`judge` verifies what was read and gives it to the core; reading is done in `thread`. `now`
    is a clock, in seconds.
    """

    def __init__(
        self,
        refusals: Refusals,
        thread: Executor,
        judge: Judge,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refusals = refusals
        self._thread = thread
        self._judge = judge
        self._credits: Credits[int] = Credits(0.0, now)
        self._waiting: FairQueue[Framed] = FairQueue(
            count_max=WAITING_MAX, bytes_max=PEER_BYTES_MAX
        )

    def put(self, sender: int, epoch: int, encoded: bytes) -> None:
        """A message of `epoch` as it travels; of one who rests it is dropped, since what matters
        comes again. Must not block.
        """
        if self._is_heard(sender):
            dropped = self._waiting.put(sender, (epoch, encoded), len(encoded))
            self._refusals.count(sender, Reason.FLOOD, times=dropped)

    async def run(self) -> None:
        """Read and judge until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(REST_SECONDS)

    async def look(self) -> None:
        """Wait for something, then read and judge one of each peer."""
        taken = [each for each in await self._waiting.take(1) if self._is_heard(each[0])]
        forgers: set[int] = set()
        messages: defaultdict[int, list[Sent]] = defaultdict(list)
        loop = asyncio.get_running_loop()
        for sender, epoch, read in await loop.run_in_executor(self._thread, _read, taken):
            if isinstance(read, MalformedError):
                self._refusals.count(sender, Reason.MALFORMED, str(read))
                forgers.add(sender)
            else:
                messages[epoch].append((sender, read))
        for epoch, sent in messages.items():
            forgers |= await self._judge(epoch, sent)
        for sender in forgers:
            self._credits.charge(sender, FORGERY_SECONDS)

    def _is_heard(self, sender: int) -> bool:
        """Whether it does not rest; what it sends meanwhile is counted."""
        rests = self._credits.rest(sender) > 0
        self._refusals.count(sender, Reason.FLOOD, times=int(rests))
        return not rests


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
