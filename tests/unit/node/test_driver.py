"""What the driver believes of where its peers stand, and what it keeps at the end of an epoch."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.consensus import driver as driver_module
from services.consensus.batches import BatchTracker
from services.consensus.domain.effects import Effect
from services.consensus.domain.messages import (
    Digest,
    Executed,
    Message,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.driver import Driver
from services.consensus.jobs import Pause
from services.consensus.refusals import Reason
from tests.simulation.keys import replica_set
from tests.unit.consensus.protocol import PARAMETERS, START_MS, a_batch, signer

ME = ReplicaId(1)
CERTIFIED = 20
WITHIN, BEYOND = CERTIFIED + PARAMETERS.window, CERTIFIED + PARAMETERS.window + 1

# --- Where the others stand ----------------------------------------------------------------------


def catching_up(heights: dict[int, int], size: int = 4) -> bool:
    """What a driver at `CERTIFIED` concludes from what the others say to have certified."""
    driver = cast(Any, object.__new__(Driver))
    driver.replica = SimpleNamespace(replica_set=replica_set(size))
    driver.peer_heights = heights
    driver._ledger = SimpleNamespace(store=SimpleNamespace(last_certified=CERTIFIED))
    driver._parameters = PARAMETERS
    return cast(Driver, driver).catching_up


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("size", [4, 7])
def test_f_liars_do_not_make_a_replica_believe_that_it_is_behind(size: int) -> None:
    faulty_max = replica_set(size).faulty_max
    liars = {size - 1 - number: 2**63 for number in range(faulty_max)}
    others = dict.fromkeys(range(size), WITHIN)
    assert not catching_up(others | liars, size)
    assert catching_up(others | liars | {0: BEYOND}, size), "one of f + 1 is honest"


def test_before_f_plus_one_others_said_where_they_stand_it_is_not_known() -> None:
    assert catching_up({0: CERTIFIED})
    assert catching_up({0: CERTIFIED, 4: CERTIFIED}), "who is not in the set says nothing"
    assert not catching_up({0: CERTIFIED, 2: CERTIFIED})


# --- Proposals -----------------------------------------------------------------------------------


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(
    ("view", "sequence", "is_taken"),
    [
        (2, CERTIFIED + 1, True),
        (2, WITHIN, True),
        (1, CERTIFIED + 1, False),
        (3, CERTIFIED + 1, False),
        (2, CERTIFIED, False),
        (2, BEYOND, False),
    ],
)
def test_d1_a_proposal_of_another_view_or_beyond_the_window_holds_no_memory(
    view: int, sequence: int, is_taken: bool
) -> None:
    """It went through admission while the view changed; its sender may have more of them."""
    driver, refused = cast(Any, object.__new__(Driver)), list[tuple[int, Reason]]()
    driver._inbox, driver._wake = deque(), asyncio.Event()
    driver._parameters, driver._tracker = PARAMETERS, BatchTracker()
    driver.replica = SimpleNamespace(low_watermark=CERTIFIED, view=2, executed=CERTIFIED)
    driver.mempool = SimpleNamespace(mark_proposed=list)
    refusals = SimpleNamespace(count=lambda *said: refused.append(said))
    driver._metrics = SimpleNamespace(refusals=refusals)
    message = signer(view).pre_prepare(View(view), SequenceNumber(sequence), a_batch("pay"))
    cast(Driver, driver).put_pre_prepare(ReplicaId(view), message, ())
    assert (driver._tracker.find(message.digest) is not None) == is_taken
    assert list(cast(Driver, driver).waiting()) == [(view, message)] * is_taken
    assert refused == [(view, Reason.UNASKED)] * (not is_taken)


# --- The end of an epoch -------------------------------------------------------------------------


class Core:
    """Takes inputs until `ends_with` came."""

    def __init__(self, epoch: int, ends_with: Message | None = None) -> None:
        self.epoch = epoch
        self.low_watermark = SequenceNumber(CERTIFIED)
        self.replica_set = replica_set(4)
        self.ended = False
        self.stepped: list[Message] = []
        self._ends_with = ends_with

    def step(self, sender: ReplicaId, message: Message) -> list[Effect]:
        assert not self.ended, "a core that ended takes nothing more"
        self.stepped.append(message)
        self.ended = message == self._ends_with
        return []


class EndingDriver(Driver):
    """The step loop and the start of an epoch as they are, around cores and a ledger by hand."""

    def __init__(self, *cores: Core) -> None:
        self.me, self.pause = ME, Pause.NONE
        self._inbox = deque()
        self._hellos = {}
        self._wake = asyncio.Event()
        self._now_ms = lambda: START_MS
        self.idle = asyncio.Event()
        self.next_cores = deque(cores)
        self._proposer = cast(Any, SimpleNamespace(propose=list))
        self._ledger_work = cast(Any, SimpleNamespace(settled=self._settled))
        self._take_over()

    def _take_over(self) -> None:
        self.replica = cast(Any, self.next_cores.popleft())
        self._wake.set()

    async def _settled(self) -> None:
        pass

    def _step(self, sender: ReplicaId, message: Message) -> list[Effect]:
        return self.replica.step(sender, message)

    async def _perform(self, effects: object) -> None:
        pass

    async def _compact_records(self) -> None:
        if not self._inbox:
            self.idle.set()


async def test_what_the_ledger_said_behind_the_end_of_an_epoch_is_told_to_the_next_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the same turn and after it, in order. Votes are sent again."""
    monkeypatch.setattr(driver_module, "TURN_INPUTS_MAX", 5)
    last = Executed(SequenceNumber(CERTIFIED), Digest(b"h" * 32))
    pending, gone, later = RequestPending(b"new"), RequestGone(b"old"), RequestPending(b"later")
    old, new = Core(0, ends_with=last), Core(1)
    driver = EndingDriver(old, new)
    for message in (RequestPending(b"old"), last, pending):
        driver.put_own(message)
    vote = signer(2).commit(View(0), SequenceNumber(CERTIFIED + 1), Digest(b"d" * 32))
    driver.put(ReplicaId(2), vote)
    driver.put_own(gone)
    driver.put_own(later)
    loop = asyncio.ensure_future(driver._step_loop())
    await driver.idle.wait()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert old.stepped == [RequestPending(b"old"), last]
    assert new.stepped == [Tick(START_MS), pending, gone, later]
