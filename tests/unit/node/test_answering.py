"""What peers ask for: each question costs its peer what the answer cost, and the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consensus.answering import (
    CREDIT_SECONDS,
    REPEATS_MAX,
    SENT_BYTES_A_SECOND,
    WAITING_MAX,
    Answering,
)
from services.consensus.credit import SHARE

FLOODER, HONEST = 3, 1


class Machine:
    """A clock, and work that takes as long as a test says."""

    def __init__(self) -> None:
        self.now = self.worked = 0.0
        self.answering: Answering[str] = Answering(
            lambda question: question, now=lambda: self.now, at_work=lambda: self.worked
        )

    def work(self, seconds: float) -> Callable[[], None]:
        def work() -> None:
            self.now += seconds
            self.worked += seconds

        return work

    def spend(self, peer: int, seconds: float) -> None:
        self.answering.metered(peer, self.work(seconds))()

    async def taken(self) -> tuple[int, str] | None:
        """What is answered next; None: nothing yet."""
        taking = asyncio.ensure_future(self.answering.take())
        for _ in range(5):
            await asyncio.sleep(0)
        if taking.done():
            return taking.result()
        taking.cancel()
        return None


async def test_peers_take_turns() -> None:
    machine = Machine()
    for question in ("a", "b", "c"):
        machine.answering.put(FLOODER, question)
    machine.answering.put(HONEST, "z")
    taken = [await machine.taken() for _ in range(5)]
    assert taken == [(FLOODER, "a"), (HONEST, "z"), (FLOODER, "b"), (FLOODER, "c"), None]


async def test_a_question_that_waits_is_not_asked_twice_and_the_oldest_give_way() -> None:
    machine = Machine()
    in_vain = [machine.answering.put(FLOODER, "same") for _ in range(REPEATS_MAX + 3)]
    assert in_vain == [*([0] * (REPEATS_MAX + 1)), 1, 1]
    assert [machine.answering.put(FLOODER, f"{n}") for n in range(WAITING_MAX)] == [
        *([0] * (WAITING_MAX - 1)),
        1,
    ]
    taken = [await machine.taken() for _ in range(WAITING_MAX + 1)]
    assert taken == [*((FLOODER, f"{n}") for n in range(WAITING_MAX)), None]
    assert machine.answering.put(FLOODER, "same") == 0


async def test_who_has_spent_its_credit_rests_in_proportion_and_the_others_do_not() -> None:
    machine = Machine()
    machine.answering.put(FLOODER, "first")
    machine.spend(FLOODER, CREDIT_SECONDS + 1)
    machine.answering.put(HONEST, "z")
    assert await machine.taken() == (HONEST, "z")
    assert await machine.taken() is None
    machine.now += 0.9 / SHARE
    machine.answering.put(FLOODER, "second")
    assert await machine.taken() is None
    machine.now += 0.2 / SHARE
    machine.answering.put(FLOODER, "third")
    assert await machine.taken() == (FLOODER, "first")


async def test_what_is_sent_costs_as_well_and_so_does_work_that_fails() -> None:
    machine = Machine()

    def fail() -> None:
        machine.work(CREDIT_SECONDS)()
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        machine.answering.metered(FLOODER, fail)()
    machine.answering.note_sent(FLOODER, 2 * SENT_BYTES_A_SECOND)
    machine.answering.put(FLOODER, "first")
    assert await machine.taken() is None


async def test_a_rest_ends_by_itself() -> None:
    answering: Answering[str] = Answering(lambda question: question)
    answering.note_sent(FLOODER, int(SENT_BYTES_A_SECOND * (CREDIT_SECONDS + 0.001)))
    answering.put(FLOODER, "first")
    assert await asyncio.wait_for(answering.take(), 20) == (FLOODER, "first")


@pytest.mark.req("G2-13-2")
@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)), max_size=40))
def test_no_peer_ever_has_more_than_its_share(steps: list[tuple[float, float]]) -> None:
    """Of any time that passes, but for its credit and the answer that was in work at the end."""

    async def ask() -> None:
        machine, spent = Machine(), 0.0
        for pause, cost in steps:
            machine.now += pause
            machine.answering.put(FLOODER, "again")
            if await machine.taken() is not None:
                assert spent <= CREDIT_SECONDS + SHARE * machine.now + 1e-6
                machine.spend(FLOODER, cost)
                spent += cost

    asyncio.run(ask())
