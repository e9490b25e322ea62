"""The state in parts, each proven by itself against a certified state root.

A part is everything under a prefix of places, in nibbles, as the tree's pages are. Whoever takes a
state from peers asks for the part of the empty prefix; what is too large for one answer is asked
for again as its sixteen parts. A part is judged when it comes: a source that lies is known by the
very answer (by the last of the sixteen, where it only said that a part is too large), and what was
taken stays. Any number of sources may answer, in any order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.state_proof import EMPTY, bit, key_hash, leaf_hash, node_hash, value_hash
from services.consensus.domain.ledger.state_tree import PageReader
from services.consensus.domain.ledger.tree_page import (
    LEVELS,
    PLACE_BYTES,
    SLOTS,
    Leaf,
    Page,
    nibble,
    page_key,
    split,
    subtree_hash,
)

PREFIX_NIBBLES_MAX: Final = 8
"""Places are hashes: with fewer than 2^32 entries no part of eight nibbles is too large."""

PART_BYTES_MAX: Final = 4 * 1024 * 1024
"""Keys and values of one part; a larger one is asked for in sixteen. Any one value has room."""

PART_ENTRIES_MAX: Final = 50_000

ASKED_AT_ONCE_MAX: Final = 8
"""Parts that are under way: so many answers wait in memory at most."""

_PIECE: Final = "state part"

Entry = tuple[bytes, bytes]
"""Key and value."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first nibbles of places, one a byte, each below 16."""

    nibbles: bytes

    @property
    def depth(self) -> int:
        """How many bits of a place it fixes."""
        return LEVELS * len(self.nibbles)

    @property
    def place(self) -> bytes:
        """The lowest place under it."""
        text = "".join(f"{each:x}" for each in self.nibbles).ljust(2 * PLACE_BYTES, "0")
        return bytes.fromhex(text)

    def holds(self, place: bytes) -> bool:
        """Whether a place lies under it."""
        return all(nibble(place, LEVELS * at) == wanted for at, wanted in enumerate(self.nibbles))

    @property
    def above(self) -> Prefix:
        """The prefix that it is one of sixteen of."""
        return Prefix(self.nibbles[:-1])

    def parts(self) -> list[Prefix]:
        """The sixteen prefixes that it falls into."""
        return [Prefix(self.nibbles + bytes([slot])) for slot in range(SLOTS)]

    def __str__(self) -> str:
        return "".join(f"{each:x}" for each in self.nibbles) or "all"


def read_prefix(nibbles: bytes) -> Prefix:
    """The prefix of these nibbles; raises `MalformedError`."""
    if len(nibbles) > PREFIX_NIBBLES_MAX or any(each >= SLOTS for each in nibbles):
        raise MalformedError("a prefix that is no list of at most eight nibbles")
    return Prefix(nibbles)


@dataclass(frozen=True, slots=True)
class StatePart:
    """All entries under a prefix, by place, and the siblings from the root down to where the walk
    to it ends: at the prefix, or above it at nothing, at its only leaf or at another (`terminal`).

    `entries` is None where they are too many for one answer.
    """

    prefix: Prefix
    siblings: tuple[bytes, ...]
    entries: tuple[Entry, ...] | None
    terminal: Leaf | None = None

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().blob(self.prefix.nibbles).u32(len(self.siblings))
        for sibling in self.siblings:
            writer.raw(sibling)
        if self.entries is None:
            return bytes(writer.u8(_TOO_LARGE))
        writer.u8(_WHOLE if self.terminal is None else _BESIDE)
        if self.terminal is not None:
            writer.raw(self.terminal[0]).raw(self.terminal[1])
        writer.u32(len(self.entries))
        for key, value in self.entries:
            writer.blob(key).blob(value)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> StatePart:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        prefix = read_prefix(reader.blob(PREFIX_NIBBLES_MAX))
        siblings = tuple(reader.raw(32) for _ in range(reader.count(LEVELS * PREFIX_NIBBLES_MAX)))
        kind, entries, terminal = reader.u8(), None, None
        if kind > _TOO_LARGE:
            raise MalformedError(f"{kind} is no kind of part")
        if kind == _BESIDE:
            terminal = reader.raw(PLACE_BYTES), reader.raw(32)
        if kind != _TOO_LARGE:
            count = reader.count(PART_ENTRIES_MAX)
            entries = tuple((reader.blob(), reader.blob()) for _ in range(count))
        reader.end()
        return StatePart(prefix, siblings, entries, terminal)


_WHOLE: Final = 0
_BESIDE: Final = 1
_TOO_LARGE: Final = 2


# --- Giving -------------------------------------------------------------------------------------


def read_part(
    read: PageReader,
    version: int | None,
    prefix: Prefix,
    entry_of: Callable[[bytes], Entry],
    *,
    bytes_max: int = PART_BYTES_MAX,
) -> StatePart:
    """The part of the tree of `version` under `prefix`; `entry_of` gives the entry at a place."""
    siblings: list[bytes] = []
    leaves = _walk(read, version, prefix, siblings)
    entries: list[Entry] = []
    size = 0
    for place, value_digest in leaves:
        if not prefix.holds(place):
            return StatePart(prefix, tuple(siblings), (), (place, value_digest))
        entries.append(entry_of(place))
        size += _size(entries[-1])
        if is_too_large(len(entries), size, bytes_max):
            return StatePart(prefix, (), None)
    return StatePart(prefix, tuple(siblings), tuple(entries))


def is_too_large(entries: int, size: int, bytes_max: int) -> bool:
    """Whether so many entries, of so many bytes, make no part: the same rule for all."""
    return entries > 1 and (size > bytes_max or entries > PART_ENTRIES_MAX)


def _walk(
    read: PageReader, version: int | None, prefix: Prefix, siblings: list[bytes]
) -> Iterator[Leaf]:
    """The leaves where the walk to `prefix` ends, by place."""
    place, depth = prefix.place, 0
    while version is not None and depth < prefix.depth:
        page = Page.decode(read(page_key(version, depth, place)))
        index = 1
        for level in range(LEVELS):
            if page.node(index) == EMPTY or page.is_single(index):
                return iter(_few(page, index))
            index = 2 * index + bit(place, depth + level)
            siblings.append(page.node(index ^ 1))
        depth += LEVELS
        version = page.child(index - SLOTS)
        if version is None:
            return iter(_bucket(page.leaves(index - SLOTS), prefix, depth, siblings))
    return iter(()) if version is None else _below(read, version, place, depth)


def _few(page: Page, index: int) -> list[Leaf]:
    """The only leaf below a node, or none."""
    first, last = index, index
    while first < SLOTS:
        first, last = 2 * first, 2 * last + 1
    slots = range(first - SLOTS, last - SLOTS + 1)
    return [leaf for slot in slots for leaf in page.leaves(slot)]


def _bucket(leaves: list[Leaf], prefix: Prefix, depth: int, siblings: list[bytes]) -> list[Leaf]:
    place = prefix.place
    while len(leaves) > 1 and depth < prefix.depth:
        cut = split(leaves, depth)
        halves = (leaves[:cut], leaves[cut:])
        side = bit(place, depth)
        siblings.append(subtree_hash(halves[1 - side], depth + 1))
        leaves = halves[side]
        depth += 1
    return leaves


def _below(read: PageReader, version: int, place: bytes, depth: int) -> Iterator[Leaf]:
    """All leaves of the page at `depth` on the path to `place` and of those below it."""
    page = Page.decode(read(page_key(version, depth, place)))
    for slot in range(SLOTS):
        child = page.child(slot)
        if child is None:
            yield from page.leaves(slot)
        else:
            yield from _below(read, child, _into(place, depth, slot), depth + LEVELS)


def _into(place: bytes, depth: int, slot: int) -> bytes:
    whole = bytearray(place)
    at, shift = depth >> 3, 0 if depth & 7 else 4
    whole[at] = whole[at] & (0xF0 if not shift else 0x0F) | slot << shift
    return bytes(whole)


# --- Taking -------------------------------------------------------------------------------------


def verify_part(part: StatePart, wanted: Prefix, root: bytes) -> tuple[Entry, ...] | None:
    """The part's entries, once they are proven to be all under `wanted` in the state of `root`;
    None for one that its source says is too large. Raises `ProofError`.
    """
    piece = f"{_PIECE} {wanted}"
    if part.prefix != wanted:
        raise ProofError(piece, f"the part {part.prefix} was answered")
    if part.entries is None:
        if len(wanted.nibbles) >= PREFIX_NIBBLES_MAX or part.siblings:
            raise ProofError(piece, "no honest part of this prefix is too large")
        return None
    leaves = _leaves_of(piece, part)
    node = _node_of(piece, part, leaves)
    for depth in range(len(part.siblings) - 1, -1, -1):
        sibling = part.siblings[depth]
        right = bit(wanted.place, depth)
        node = node_hash(sibling, node) if right else node_hash(node, sibling)
    if node != root or root == EMPTY:
        raise ProofError(piece, "it leads to another state root")
    return part.entries


def _leaves_of(piece: str, part: StatePart) -> list[Leaf]:
    assert part.entries is not None
    leaves = [(key_hash(key), value_hash(value)) for key, value in part.entries]
    places = [place for place, _ in leaves]
    if any(later <= earlier for earlier, later in itertools.pairwise(places)):
        raise ProofError(piece, "its entries are not in the order of their places")
    if not all(map(part.prefix.holds, places)):
        raise ProofError(piece, "an entry does not lie under its prefix")
    return leaves


def _node_of(piece: str, part: StatePart, leaves: list[Leaf]) -> bytes:
    """The hash of the subtree where the walk ends."""
    depth, end = len(part.siblings), part.prefix.depth
    if depth > end:
        raise ProofError(piece, "it has more siblings than its prefix has bits")
    if part.terminal is not None:
        place = part.terminal[0]
        if leaves or part.prefix.holds(place):
            raise ProofError(piece, "the leaf beside it is not beside it")
        if any(bit(place, at) != bit(part.prefix.place, at) for at in range(depth)):
            raise ProofError(piece, "the leaf beside it does not stand on its path")
        return leaf_hash(*part.terminal)
    if depth < end and len(leaves) > 1:
        raise ProofError(piece, "the walk ends above its prefix, at more than one leaf")
    return subtree_hash(leaves, depth)


@dataclass(frozen=True, slots=True)
class Lie:
    """An answer that did not hold: whose it was, for which part, and why."""

    source: int
    prefix: Prefix
    why: str


@dataclass(slots=True)
class _Split:
    """A part that `source` said is too large, while its sixteen parts come."""

    source: int
    missing: int = SLOTS
    entries: int = 0
    size: int = 0


@dataclass(slots=True)
class _Question:
    """A part that is missing: whom it was asked of last, since when, and of whom at all."""

    source: int
    since: int
    asked: set[int]


class StateBuild:
    """Takes a state in parts, from several sources. Pure: it says what to ask of whom, and judges.
    Time is counted in the caller's steps.

    Sources that lied are left; where none remain, `is_stuck`. `finished` says that every part came;
    whoever stores the entries computes the root of all once more before anything is active.
    """

    def __init__(
        self,
        root: bytes,
        sources: Sequence[int],
        *,
        asked_max: int = ASKED_AT_ONCE_MAX,
        bytes_max: int = PART_BYTES_MAX,
    ) -> None:
        self._root = root
        self._bytes_max = bytes_max
        self._splits: dict[Prefix, _Split] = {}
        self._asked_max = asked_max
        self._sources = list(dict.fromkeys(sources))
        self._due: list[Prefix] = [Prefix(b"")]
        self._asked: dict[Prefix, _Question] = {}
        self._late: dict[Prefix, set[int]] = {}
        self._turn = 0
        self.lies: list[Lie] = []

    @property
    def sources(self) -> tuple[int, ...]:
        """Who may still be asked."""
        return tuple(self._sources)

    @property
    def finished(self) -> bool:
        """Whether every part was taken."""
        return not self._due and not self._asked

    @property
    def is_stuck(self) -> bool:
        """Whether parts are missing and nobody is left to ask."""
        return not self.finished and not self._sources

    def ask(self, step: int = 0) -> list[tuple[int, Prefix]]:
        """What to ask of whom now; sources take turns."""
        asked: list[tuple[int, Prefix]] = []
        while self._sources and self._due and len(self._asked) < self._asked_max:
            prefix = self._due.pop()
            source = self._sources[self._turn % len(self._sources)]
            self._turn += 1
            earlier = self._late.pop(prefix, set())
            self._asked[prefix] = _Question(source, step, {source, *earlier})
            asked.append((source, prefix))
        return asked

    def ask_again(self, *, since: int) -> None:
        """What was asked at the step `since` or before, and is not answered, is asked of the next
        source. An answer that comes late is as good: the part proves itself.
        """
        self._give_up(lambda question: question.since <= since)

    def leave(self, source: int) -> None:
        """This source is gone, or has the state no more."""
        self._sources = [each for each in self._sources if each != source]
        self._give_up(lambda question: question.source == source)

    def _give_up(self, which: Callable[[_Question], bool]) -> None:
        for prefix in [each for each, question in self._asked.items() if which(question)]:
            self._late[prefix] = self._asked.pop(prefix).asked
            self._due.append(prefix)

    def _was_asked(self, source: int, prefix: Prefix) -> bool:
        question = self._asked.get(prefix)
        asked = self._late.get(prefix, set()) if question is None else question.asked
        return source in self._sources and source in asked

    def take(self, source: int, part: StatePart) -> tuple[Entry, ...]:
        """The entries of an answer; none where it was not asked for, is too large, or was a lie."""
        if not self._was_asked(source, part.prefix):
            return ()
        try:
            entries = verify_part(part, part.prefix, self._root)
        except ProofError as error:
            self.convict(source, part.prefix, error.detail)
            return ()
        if self._asked.pop(part.prefix, None) is None:
            del self._late[part.prefix]
            self._due.remove(part.prefix)
        if entries is None:
            self._splits[part.prefix] = _Split(source)
            self._due += reversed(part.prefix.parts())
            return ()
        self._note_taken(part.prefix, len(entries), sum(map(_size, entries)))
        return entries

    def _note_taken(self, prefix: Prefix, entries: int, size: int) -> None:
        """Once all sixteen parts of one are here, its source is held to its word."""
        while prefix.nibbles:
            prefix = prefix.above
            split = self._splits[prefix]
            split.missing -= 1
            split.entries += entries
            split.size += size
            if split.missing:
                return
            del self._splits[prefix]
            entries, size = split.entries, split.size
            if not is_too_large(entries, size, self._bytes_max):
                self.convict(split.source, prefix, "it was not too large")

    def convict(self, source: int, prefix: Prefix, why: str) -> None:
        """This source lied: it is named and left."""
        self.lies.append(Lie(source, prefix, why))
        self.leave(source)


def _size(entry: Entry) -> int:
    return len(entry[0]) + len(entry[1])
