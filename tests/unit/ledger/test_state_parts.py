"""A state that is taken in parts: complete, and nothing that a source says is believed (pbft.md T4
and T5).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.state_proof import key_hash, value_hash
from services.consensus.domain.ledger.state_parts import (
    PREFIX_NIBBLES_MAX,
    Entry,
    Prefix,
    StateBuild,
    StatePart,
    read_part,
    verify_part,
)
from services.consensus.domain.ledger.state_tree import apply, changes_of
from services.consensus.domain.ledger.tree_page import SLOTS

ALL = Prefix(b"")
BYTES_MAX = 120
STATES = st.dictionaries(
    st.integers(0, 5_000).map(lambda number: b"key/%d" % number),
    st.binary(max_size=6),
    min_size=1,
    max_size=50,
)
PREFIXES = st.lists(st.integers(0, 15), max_size=4).map(lambda nibbles: Prefix(bytes(nibbles)))


class Source:
    """A replica that has a state."""

    def __init__(self, state: dict[bytes, bytes], bytes_max: int = BYTES_MAX) -> None:
        self.state = state
        self.bytes_max = bytes_max
        self._pages: dict[bytes, bytes] = {}
        writes: dict[bytes, bytes | None] = dict(state)
        update = apply(self._pages.__getitem__, None, changes_of(writes), 1)
        self._pages, self._version, self.root = update.pages, update.version, update.root
        self._by_place = {key_hash(key): (key, value) for key, value in state.items()}

    def part(self, prefix: Prefix) -> StatePart:
        return read_part(
            self._pages.__getitem__,
            self._version,
            prefix,
            self._by_place.__getitem__,
            bytes_max=self.bytes_max,
        )

    def under(self, prefix: Prefix) -> tuple[Entry, ...]:
        """What an honest part holds, from the definition."""
        found = sorted((key_hash(k), k, v) for k, v in self.state.items())
        return tuple((key, value) for place, key, value in found if prefix.holds(place))


def some_source(count: int = 60) -> Source:
    return Source({b"key/%d" % number: b"value %d" % number for number in range(count)})


@settings(max_examples=80)
@given(STATES, PREFIXES)
def test_a_part_is_proven_to_be_all_under_its_prefix(
    state: dict[bytes, bytes], prefix: Prefix
) -> None:
    source = Source(state, bytes_max=10**6)
    part = source.part(prefix)
    assert verify_part(part, prefix, source.root) == source.under(prefix)
    assert StatePart.decode(part.encode()) == part


@settings(max_examples=100)
@given(STATES, PREFIXES, st.data())
def test_t4_no_part_with_another_content_is_proven(
    state: dict[bytes, bytes], prefix: Prefix, data: st.DataObject
) -> None:
    """Whatever is left out, added, changed, or taken from another state."""
    source = Source(state, bytes_max=10**6)
    part = source.part(prefix)
    entries = list(part.entries or ())
    kind = data.draw(st.sampled_from(["omit", "change", "add", "sibling", "terminal", "other"]))
    lie = part
    if kind == "omit" and entries:
        del entries[data.draw(st.integers(0, len(entries) - 1))]
        lie = replace(part, entries=tuple(entries))
    elif kind == "change" and entries:
        at = data.draw(st.integers(0, len(entries) - 1))
        entries[at] = (entries[at][0], entries[at][1] + b"!")
        lie = replace(part, entries=tuple(entries))
    elif kind == "add":
        entries = sorted([*entries, (b"made up", b"x")], key=lambda entry: key_hash(entry[0]))
        lie = replace(part, entries=tuple(entries))
    elif kind == "sibling" and part.siblings:
        lie = replace(part, siblings=part.siblings[:-1])
    elif kind == "terminal":
        lie = replace(part, terminal=(key_hash(b"k"), value_hash(b"v")))
    elif kind == "other":
        lie = Source({**state, b"own": b"x"}, bytes_max=10**6).part(prefix)
    if lie != part:
        with pytest.raises(ProofError):
            verify_part(lie, prefix, source.root)


def take_all(build: StateBuild, sources: dict[int, Source]) -> dict[bytes, bytes]:
    taken: dict[bytes, bytes] = {}
    while asked := build.ask():
        for number, prefix in asked:
            answer = StatePart.decode(sources[number].part(prefix).encode())
            for key, value in build.take(number, answer):
                assert key not in taken, "every entry comes once"
                taken[key] = value
    return taken


@pytest.mark.req("G2-07-3")
@settings(max_examples=20)
@given(STATES, st.integers(1, 3))
def test_the_whole_state_comes_from_several_sources(state: dict[bytes, bytes], count: int) -> None:
    source = Source(state)
    build = StateBuild(source.root, range(count), bytes_max=BYTES_MAX)
    assert take_all(build, dict.fromkeys(range(count), source)) == state
    assert build.finished
    assert build.lies == []


class Liar(Source):
    """Answers honestly until its n-th answer."""

    def __init__(self, source: Source, honest: int, lie: str) -> None:
        super().__init__(source.state, source.bytes_max)
        self._left = honest
        self._lie = lie
        self.lied = False

    def part(self, prefix: Prefix) -> StatePart:
        part = super().part(prefix)
        self._left -= 1
        if self._left >= 0 or part.entries is None:
            return part
        lie = self._of(part)
        self.lied = self.lied or lie != part
        return lie

    def _of(self, part: StatePart) -> StatePart:
        assert part.entries is not None
        match self._lie:
            case "omits":
                return replace(part, entries=part.entries[1:])
            case "changes":
                changed = tuple((key, b"mine") for key, _ in part.entries)
                return replace(part, entries=changed)
            case "says that there is nothing":
                return replace(part, entries=(), siblings=())
            case _:
                return replace(part, siblings=part.siblings[::-1][:1])


@pytest.mark.req("G2-07-3")
@pytest.mark.parametrize(
    "lie", ["omits", "changes", "says that there is nothing", "proves another"]
)
def test_a_lie_at_any_part_names_its_source_and_costs_one_question(lie: str) -> None:
    """Row P22 of the reliability plan, for the state."""
    source = some_source()
    parts, honest = 0, StateBuild(source.root, [0], bytes_max=BYTES_MAX)
    while asked := honest.ask():
        for _, prefix in asked:
            honest.take(0, source.part(prefix))
            parts += 1
    assert parts > SLOTS
    for at in range(parts):
        liar = Liar(source, at, lie)
        build = StateBuild(source.root, [0, 1], bytes_max=BYTES_MAX)
        assert take_all(build, {0: liar, 1: source}) == source.state
        assert build.finished
        assert [each.source for each in build.lies] == [0] * liar.lied
        assert build.sources == ((1,) if liar.lied else (0, 1))


def test_with_liars_alone_it_is_stuck_and_nothing_is_made_up() -> None:
    source = some_source()
    liars: dict[int, Source] = {number: Liar(source, 0, "omits") for number in range(3)}
    build = StateBuild(source.root, range(3), bytes_max=BYTES_MAX)
    taken = take_all(build, liars)
    assert build.is_stuck
    assert not build.finished
    assert len(build.lies) == 3
    assert all(source.state[key] == value for key, value in taken.items())


class Splitter(Source):
    """Says of every part that it is too large."""

    def part(self, prefix: Prefix) -> StatePart:
        return StatePart(prefix, (), None)


def test_who_calls_small_parts_too_large_is_found_by_what_they_hold() -> None:
    """Left alone it could make one question a billion."""
    source = some_source()
    build = StateBuild(source.root, [0, 1, 2], bytes_max=BYTES_MAX)
    sources: dict[int, Source] = {0: source, 1: Splitter(source.state), 2: source}
    assert take_all(build, sources) == source.state
    assert build.finished
    assert {each.source for each in build.lies} == {1}
    assert "it was not too large" in {each.why for each in build.lies}
    assert build.sources == (0, 2)


def test_t5_each_part_that_is_not_answered_in_time_is_asked_of_the_next_source() -> None:
    """However much the silent source, or another, answers beside it."""
    source = some_source()
    build = StateBuild(source.root, [0, 1], asked_max=2, bytes_max=BYTES_MAX)
    assert build.ask(0) == [(0, ALL)]
    build.take(0, source.part(ALL))
    (first, kept), (second, answered) = build.ask(1)
    assert build.take(second, source.part(answered)) == source.part(answered).entries
    [(third, later)] = build.ask(4)
    assert build.take(first, source.part(Prefix(b"\x0f"))) == (), "it was not asked for that"
    build.ask_again(since=0)
    assert build.ask(5) == []
    build.ask_again(since=1)
    assert build.ask(6) == [(1 - first, kept)], "what was asked later is not overdue yet"
    assert build.take(1 - first, source.part(kept)) == source.part(kept).entries
    assert build.take(third, source.part(later)) == source.part(later).entries


@pytest.mark.parametrize("asked_again", [True, False])
def test_t5_an_answer_that_comes_late_is_as_good_and_comes_once(asked_again: bool) -> None:
    source = some_source()
    build = StateBuild(source.root, [0, 1], asked_max=2, bytes_max=BYTES_MAX)
    build.take(0, source.part(build.ask(0)[0][1]))
    (first, kept), (second, other) = build.ask(1)
    build.ask_again(since=1)
    again = build.ask(2) if asked_again else []
    if not asked_again:
        assert build.take(second, source.part(kept)) == (), "it was not asked for it"
    assert build.take(first, source.part(kept)) == source.part(kept).entries
    assert build.take(first, source.part(kept)) == (), "it is here"
    assert {prefix for _, prefix in again} == ({kept, other} if asked_again else set())
    state = dict(source.part(kept).entries or ())
    build.leave(1)
    build.ask_again(since=2)
    assert state | take_all(build, {0: source}) == source.state
    assert build.finished


def test_t5_a_source_that_was_left_gives_nothing_any_more() -> None:
    source = some_source()
    build = StateBuild(source.root, [0, 1], bytes_max=BYTES_MAX)
    assert build.ask(0) == [(0, ALL)]
    build.leave(0)
    assert build.take(0, source.part(ALL)) == ()
    assert take_all(build, {1: source}) == source.state


def test_a_part_that_is_said_to_be_too_large_for_ever_is_a_lie() -> None:
    deep = Prefix(bytes(PREFIX_NIBBLES_MAX))
    with pytest.raises(ProofError, match="no honest part"):
        verify_part(StatePart(deep, (), None), deep, some_source().root)


def test_an_answer_for_another_part_is_no_answer() -> None:
    source = some_source()
    one, other = Prefix(b"\x01"), Prefix(b"\x02")
    with pytest.raises(ProofError, match="the part 2 was answered"):
        verify_part(source.part(other), one, source.root)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\1\x10" + bytes(5),  # A nibble of 16.
        b"\0\0\0\x09" + bytes(9) + bytes(5),  # Nine nibbles.
        bytes(8) + b"\x03",  # A kind that there is not.
        StatePart(ALL, (), None).encode() + b"x",
    ],
)
def test_what_was_not_written_as_a_part_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        StatePart.decode(data)
