"""How long a replica without any memory says nothing: ledger.md, the rule of silence, step 5."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consensus.domain.messages import ReplicaId
from services.consensus.repair import (
    Silence,
    beyond_what_anybody_says,
    certified_by_nobody_from,
    due_height,
)
from services.consensus.store import Promise
from tests.simulation.keys import replica_set

WINDOW = 8
OLD = 1_000


def beyond(heights: list[int], size: int = 4) -> int | None:
    """What the first replicas say; the last has lost its memory."""
    said = {ReplicaId(peer): height for peer, height in enumerate(heights)}
    return beyond_what_anybody_says(replica_set(size), WINDOW, said)


@pytest.mark.req("G2-13-2")
def test_it_waits_for_two_windows_beyond_what_others_have_certified() -> None:
    """ledger.md, rule of silence, step 5."""
    assert beyond([OLD, OLD]) == OLD + 2 * WINDOW
    assert beyond([OLD, OLD - 1, OLD - 2]) == OLD - 1 + 2 * WINDOW


def test_a_chain_that_is_being_founded_does_not_wait_for_heights_that_need_its_vote() -> None:
    """ledger.md, rule of silence, step 5."""
    assert beyond([0, 0]) == 0
    assert beyond([2 * WINDOW, 2 * WINDOW]) == 2 * WINDOW
    assert beyond([0] * 4, size=7) == 0


def test_it_waits_until_more_than_f_have_said_where_they_stand() -> None:
    """ledger.md, rule of silence, step 5."""
    assert beyond([]) is beyond([OLD]) is beyond([0]) is beyond([0, 0], size=7) is None


@pytest.mark.req("G2-13-2")
def test_a_chain_that_was_restarted_is_being_founded_behind_that_height() -> None:
    """pbft.md Q6: it does not wait for heights that need its vote."""
    said = {ReplicaId(0): OLD, ReplicaId(1): OLD}
    present = replace(replica_set(4), epoch=1)
    for base, due in ((OLD, OLD), (OLD - 2 * WINDOW, OLD), (OLD - 2 * WINDOW - 1, OLD + 16)):
        assert beyond_what_anybody_says(present, WINDOW, said, base=base) == due
        assert Silence(WINDOW).through(present, said, base=base, restarted=True) == due


@dataclass
class Remembering:
    """As much of a store as `due_height` asks."""

    promise: Promise
    restore_to: int = 7


@pytest.mark.req("G2-13-2")
def test_votes_of_an_epoch_before_a_restart_are_waited_for_no_more() -> None:
    """pbft.md Q6; those of the restarted epoch itself are, and so is what nobody remembers."""

    def due(promise: Promise, restarted: int) -> int | None:
        return due_height(Remembering(promise), 99, restarted=restarted)  # type: ignore[arg-type]

    forgot = Promise(view=1, sequence=64, forgotten=True, epoch=2)
    assert due(forgot, 0) == 64
    assert due(forgot, 3) == 7
    assert due(forgot, 2) == 64
    assert due(replace(forgot, sequence=None), 3) == 99
    assert due(replace(forgot, forgotten=False), 0) == 7


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("lie", [0, 2 * WINDOW + 1, 10**9])
def test_one_liar_among_f_plus_1_makes_the_chain_look_neither_young_nor_old(lie: int) -> None:
    """ledger.md, rule of silence, step 5. Who lies is not known; the next to speak decides."""
    assert beyond([OLD, lie]) is None
    assert beyond([OLD, lie, OLD]) == OLD + 2 * WINDOW
    assert beyond([0, lie, 0]) == 0
    assert beyond([OLD, OLD, lie, lie], size=7) is None


@given(
    faulty=st.integers(1, 5),
    spare=st.integers(0, 2),
    honest=st.lists(st.integers(0, 10_000), min_size=16, max_size=16),
    lies=st.lists(st.integers(0, 10**12), min_size=5, max_size=5),
)
def test_f_liars_never_move_it_out_of_what_honest_ones_say(
    faulty: int, spare: int, honest: list[int], lies: list[int]
) -> None:
    """ledger.md, rule of silence, step 5."""
    size = 3 * faulty + 1 + spare
    told = honest[: size - 1 - faulty]
    due = beyond([*lies[:faulty], *told], size=size)
    assert due is not None
    low, high = min(told), max(told)
    assert min(low, 2 * WINDOW) <= due <= high + 2 * WINDOW
    if low > 2 * WINDOW:
        assert due >= low + 2 * WINDOW


def test_the_word_of_learners_and_of_jailed_replicas_counts_nothing() -> None:
    present = replace(replica_set(4), jailed=(2,))
    said = {ReplicaId(0): OLD, ReplicaId(2): OLD, ReplicaId(4): OLD, ReplicaId(5): OLD}
    assert beyond_what_anybody_says(present, WINDOW, said) is None
    said[ReplicaId(1)] = OLD
    assert beyond_what_anybody_says(present, WINDOW, said) == OLD + 2 * WINDOW


def test_the_chain_may_move_on_until_another_set_is_in_force() -> None:
    """ledger.md, rule of silence, step 5."""
    silence, present = Silence(WINDOW), replica_set(4)
    said = {ReplicaId(0): OLD, ReplicaId(1): 0}
    assert silence.through(present, said) is None
    said[ReplicaId(1)] = OLD
    assert silence.through(present, said) == OLD + 2 * WINDOW
    later = {ReplicaId(0): 2 * OLD, ReplicaId(1): 2 * OLD}
    assert silence.through(present, later) == OLD + 2 * WINDOW, "or it would never end"
    following = replace(present, epoch=1)
    assert silence.through(following, later) == 2 * OLD + 2 * WINDOW
    assert silence.through(replace(present, epoch=2), {}) is None


def test_what_nobody_says_any_more_is_not_waited_for() -> None:
    """Replicas that a restart left behind spoke first, of blocks that are void."""
    silence, present = Silence(WINDOW), replica_set(5)
    left = {ReplicaId(0): OLD, ReplicaId(1): OLD, ReplicaId(2): OLD}
    assert silence.through(present, left, base=5, restarted=True) == OLD + 2 * WINDOW
    back = {ReplicaId(0): 5, ReplicaId(1): 5, ReplicaId(2): 5}
    assert silence.through(present, back, base=5, restarted=True) == 5
    assert silence.through(present, left, base=5, restarted=True) == 5
    assert silence.through(present, {}, base=5, restarted=True) == 5


BASE = OLD + 3 * WINDOW
"""The last height of the epoch in which the replica came."""
NOT_YET = BASE - WINDOW - 1
"""Who has certified no more than this has not signed the header of `BASE`."""


def into_the_next_epoch(
    heights: list[int], size: int = 4, *, epoch: int = 1, restarted: bool = False
) -> int | None:
    """What others said before the set changed, and up to where is silence afterwards, when all that
    are heard of are at the base.
    """
    silence, present = Silence(WINDOW), replica_set(size)
    silence.through(present, {ReplicaId(peer): height for peer, height in enumerate(heights)})
    said = {ReplicaId(peer): BASE for peer in range(3)}
    following = replace(replica_set(5), epoch=epoch)
    return silence.through(following, said, base=BASE, restarted=restarted)


@pytest.mark.req("G2-10-3", "G2-13-2")
def test_in_an_epoch_that_began_after_the_silence_nothing_was_signed() -> None:
    """ledger.md, silence step 6: who joins a set of five may be one of its quorum at once."""
    assert into_the_next_epoch([NOT_YET] * 3) == BASE
    assert into_the_next_epoch([NOT_YET, NOT_YET - 5, NOT_YET, BASE]) == BASE
    assert into_the_next_epoch([NOT_YET] * 5, size=7) == BASE


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_where_the_epoch_may_have_begun_before_a_replica_without_memory_is_silent_in_it() -> None:
    """ledger.md, rule of silence, step 6."""
    silent = BASE + 2 * WINDOW
    assert into_the_next_epoch([NOT_YET, NOT_YET, NOT_YET + 1]) == silent, "it may have signed"
    assert into_the_next_epoch([NOT_YET, NOT_YET]) == silent, "one lies, one did not sign"
    assert into_the_next_epoch([NOT_YET, NOT_YET, BASE, BASE]) == silent
    assert into_the_next_epoch([NOT_YET] * 4, size=7) == silent
    assert into_the_next_epoch([NOT_YET] * 3, epoch=2) == silent, "what was heard is of epoch 0"
    assert into_the_next_epoch([]) == silent


def test_what_others_said_before_a_restart_shows_nothing_of_the_epoch_that_it_began() -> None:
    """More than f of them are gone or forgot what they had; the rule of founding holds (Q6)."""
    silence, present, base = Silence(WINDOW), replica_set(4), OLD
    silence.through(present, {ReplicaId(peer): 0 for peer in range(3)})
    said = {ReplicaId(peer): OLD + WINDOW for peer in range(3)}
    following = replace(present, epoch=1)
    through = silence.through(following, said, base=base, restarted=True)
    assert through == OLD + WINDOW > base


def test_the_lowest_that_was_heard_in_the_silence_counts() -> None:
    silence, present = Silence(WINDOW), replica_set(4)
    for height in (NOT_YET, BASE):
        silence.through(present, {ReplicaId(peer): height for peer in range(3)})
    following = replace(replica_set(5), epoch=1)
    said = {ReplicaId(peer): BASE for peer in range(4)}
    assert silence.through(following, said, base=BASE) == BASE
    assert silence.through(following, said, base=BASE) == BASE
    assert silence.through(replace(following, epoch=2), said, base=BASE) == BASE + 2 * WINDOW


@given(
    faulty=st.integers(1, 4),
    spare=st.integers(0, 2),
    certified=st.integers(WINDOW, 10_000),
    above=st.lists(st.integers(0, 3 * WINDOW), min_size=15, max_size=15),
    claims=st.lists(st.integers(0, 20_000), min_size=15, max_size=15),
    signs=st.permutations(range(15)),
    heard=st.sets(st.integers(0, 14)),
)
def test_no_lies_of_f_make_a_certified_height_look_uncertified(
    faulty: int,
    spare: int,
    certified: int,
    above: list[int],
    claims: list[int],
    signs: list[int],
    heard: set[int],
) -> None:
    """ledger.md, rule of silence, step 6. A quorum signed the header of `certified`, with it f
    liars; they and all others say what they like, of whom some are heard.
    """
    present = replica_set(3 * faulty + 1 + spare)
    signers = [each for each in signs if each < present.size][: present.quorum]
    honest = {each: certified - WINDOW + above[each] for each in signers[faulty:]}
    said = {
        ReplicaId(each): honest.get(each, claims[each]) for each in heard if each < present.size
    }
    found = certified_by_nobody_from(present, WINDOW, said)
    assert found is None or found > certified
