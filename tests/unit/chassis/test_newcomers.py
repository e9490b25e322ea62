"""Newcomers: bounded in all and by source, and always open to the next."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.newcomers import Newcomers


def test_the_oldest_of_the_source_with_most_gives_way() -> None:
    newcomers: Newcomers[int] = Newcomers(count_max=4, source_max=3)
    for number, source in enumerate("abbb"):
        assert newcomers.enter(number, source) is None
    assert newcomers.enter(4, "c") == 1
    assert newcomers.enter(5, "a") == 2
    assert len(newcomers) == 4


def test_a_source_beyond_its_own_bound_gives_way_to_itself() -> None:
    newcomers: Newcomers[int] = Newcomers(count_max=10, source_max=2)
    newcomers.enter(0, "a")
    assert [newcomers.enter(number, "b") for number in (1, 2, 3, 4)] == [None, None, 1, 2]


def test_who_said_something_stays_while_a_silent_one_of_its_source_can_go() -> None:
    spoken = {0}
    newcomers: Newcomers[int] = Newcomers(
        count_max=2, source_max=2, is_silent=lambda each: each not in spoken
    )
    newcomers.enter(0, "a")
    newcomers.enter(1, "a")
    assert newcomers.enter(2, "a") == 1
    spoken.add(2)
    assert newcomers.enter(3, "a") == 0


def test_who_has_left_makes_room_and_may_leave_twice() -> None:
    newcomers: Newcomers[int] = Newcomers(count_max=1, source_max=1)
    newcomers.enter(0, "a")
    newcomers.leave(0)
    newcomers.leave(0)
    assert newcomers.enter(1, "a") is None


@pytest.mark.req("G2-13-2")
@given(
    steps=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60),
    count_max=st.integers(1, 8),
    source_max=st.integers(1, 8),
)
def test_the_bounds_hold_and_only_a_source_with_as_many_loses_one(
    steps: list[tuple[str, bool]], count_max: int, source_max: int
) -> None:
    source_max = min(source_max, count_max)
    newcomers: Newcomers[int] = Newcomers(count_max=count_max, source_max=source_max)
    inside: dict[int, str] = {}
    for number, (source, leaves) in enumerate(steps):
        before = Counter(inside.values())
        gone = newcomers.enter(number, source)
        if gone is not None:
            loser = inside.pop(gone)
            if loser != source:
                assert before[loser] == max(before.values())
                assert before.total() == count_max
            else:
                assert before[source] == source_max or before[source] == max(before.values())
        inside[number] = source
        if leaves and len(inside) > 1:
            first = next(iter(inside))
            newcomers.leave(first)
            del inside[first]
        assert len(newcomers) == len(inside) <= count_max
        assert max(Counter(inside.values()).values()) <= source_max
