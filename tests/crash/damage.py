"""Campaign: bytes of each file of a data folder are flipped, zeroed, cut off or old (T-13).

A folder is built once and copied for each case. The case damages one place of one file, opens the
folder in a child (damaged LMDB pages can take a process along) and looks at everything: what is
answered must be true, what is missing must be said, lost votes must be known as lost. Then blocks
come back as a peer would send them, and the folder must be whole again, index lost or not. One
folder in four took the state of a later height from another. `tests.crash.replicas` does the like
to f replicas of a running chain.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from services.consensus.store import (
    ChainStore,
    DamagedRecordError,
    IdentityDamagedError,
    IndexDamagedError,
    StoredBlock,
)
from services.consensus.store.files import SYSTEM_FILES
from tests.crash.beside import Beside
from tests.crash.checking import truth
from tests.crash.writer import (
    EVIDENCE_EVERY,
    NONCE_EVERY,
    SEGMENT_BYTES_MAX,
    fork,
    write_chain,
)
from tests.integration.ledger.store_builder import (
    NO_FSYNC,
    OPTIONS,
    certificate_of,
    commit,
    open_store,
    payloads_of,
    segment_files,
    take_state,
)

BLOCKS: Final = 14
STALE_BLOCKS: Final = 8
PAGE_BYTES: Final = 4_096
STARTS_MAX: Final = 3
"""A start may fall over a damaged index, the next one builds it anew."""

HOW: Final = ("flip", "zero", "truncate", "stale", "remove")
FILES: Final = (
    "segments/first",
    "segments/middle",
    "segments/last",
    "index/data.mdb",
    "index/lock.mdb",
    "promise.1.json",
    "promise.2.json",
    "identity.json",
    "identity.copy.json",
    "session",
    "lock",
    "nonces",
    "evidence/first",
)
WEIGHTS: Final = (8, 8, 8, 8, 1, 1, 1, 1, 1, 1, 1, 2, 2)
ADOPTED_HEIGHT: Final = 10
ADOPTED_SHARE: Final = 0.25
PART_BYTES: Final = 2_048
NONCES: Final = range(NONCE_EVERY, BLOCKS + 1, NONCE_EVERY)
EVIDENCE: Final = range(EVIDENCE_EVERY, BLOCKS + 1, EVIDENCE_EVERY)
UNTOLD: Final = ("truncate", "stale", "remove")
"""Nobody can tell a nonces file that holds less from one that never held more."""


def run(folder: Path, *, cases: int, seed: int) -> dict[str, int]:
    """Damage so often; returns how often each file and each kind of damage was tried, and what came
    of it.
    """
    base, old = folder / "base", folder / "old"
    write_chain(old, lambda _: None, files=SYSTEM_FILES, blocks=STALE_BLOCKS)
    shutil.copytree(old, base)
    write_chain(base, lambda _: None, files=SYSTEM_FILES, blocks=BLOCKS)
    peer = open_store(_copied(base, folder / "peer"))
    blocks = [peer.get_block(height) for height in range(BLOCKS + 1)]
    votes = peer.records()
    _adopt(folder / "adopted", peer)
    peer.close()
    counts: Counter[str] = Counter(dict.fromkeys((*HOW, *FILES, "adopted"), 0))
    chance = random.Random(seed)
    for number in range(cases):
        name = chance.choices(FILES, WEIGHTS)[0] if number >= len(FILES) else FILES[number]
        how = HOW[number % len(HOW)]
        adopted = number >= len(FILES) and chance.random() < ADOPTED_SHARE
        data = _copied(folder / "adopted" if adopted else base, folder / "case")
        if chance.random() < 0.4 and not name.startswith("index"):
            shutil.rmtree(data / "index")
        damage(data, old, name, how, chance)
        counts.update((how, name, "adopted") if adopted else (how, name))
        may_forget = name == "nonces" and how in UNTOLD
        case = Case(data, [b for b in blocks if b is not None], votes, may_forget=may_forget)
        try:
            _judge(case, counts)
        except AssertionError as error:
            raise AssertionError(f"case {number} of seed {seed}, {how} {name}: {error}") from error
    return dict(counts)


@dataclass(frozen=True, slots=True)
class Case:
    """A damaged folder, and the truth."""

    data: Path
    blocks: list[StoredBlock]
    votes: list[bytes]
    may_forget: bool
    """Whether nonces may be gone without a word."""


def _adopt(folder: Path, peer: ChainStore) -> None:
    """A folder like the peer's, that has not seen the blocks up to a height: it took its state."""
    store = open_store(folder, options=replace(OPTIONS, segment_bytes_max=SEGMENT_BYTES_MAX))
    store.end_silence()
    store.cover_votes(0, BLOCKS)
    store.adopt_state(take_state(store, peer, ADOPTED_HEIGHT, PART_BYTES))
    for height in range(ADOPTED_HEIGHT + 1, BLOCKS + 1):
        header = commit(store, *payloads_of(height, count=2))
        store.put_certificate(height, certificate_of(header))
    store.append_records(peer.records())
    beside = Beside(folder, store, lambda _: NO_FSYNC)
    for number in NONCES:
        beside.use_nonce(number)
    for height in EVIDENCE:
        beside.keep_evidence(height)
    beside.close()
    store.close()


def damage(data: Path, old: Path, name: str, how: str, chance: random.Random) -> None:
    """Do it; a file that is not there is damaged already."""
    path = _path(data, name)
    if not path.exists():
        return
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content)) if content else 0
    match how:
        case "flip" if content:
            content[at] ^= 1 << chance.randrange(8)
        case "zero":
            begin = at // PAGE_BYTES * PAGE_BYTES if len(content) > PAGE_BYTES else at
            end = min(begin + PAGE_BYTES, len(content))
            content[begin:end] = bytes(end - begin)
        case "truncate":
            del content[at:]
        case "stale" if (old / path.relative_to(data)).exists():
            content = bytearray((old / path.relative_to(data)).read_bytes())
        case "remove":
            path.unlink()
            return
    path.write_bytes(content)


def _path(data: Path, name: str) -> Path:
    segments = segment_files(data)
    match name:
        case "segments/first":
            return segments[0]
        case "segments/middle":
            return segments[len(segments) // 2]
        case "segments/last":
            return segments[-1]
        case "evidence/first":
            return min((data / "evidence").glob("*.json"))
        case _:
            return data / name


def _copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)


def _judge(case: Case, counts: Counter[str]) -> None:
    """Start until it stands, in children; what a child found wrong is its last line."""
    for _ in range(STARTS_MAX):
        child = fork(lambda say: examine(case, say))
        with os.fdopen(child.lines) as lines:
            said = [line.strip() for line in lines]
        status = child.wait()
        if os.WIFSIGNALED(status):
            counts["took the process along"] += 1
            continue
        assert status == 0, said[-1:]
        counts.update(said)
        if said[-1] != "start again":
            return
    raise AssertionError("it never stands")


def examine(case: Case, say: Callable[[str], None]) -> None:
    """One start: look at all answers, repair, and look again."""
    data, blocks, votes = case.data, case.blocks, case.votes
    try:
        store = open_store(data)
    except IdentityDamagedError:
        say("refused to start")
        return
    try:
        _look(store, blocks, votes, say)
        _repair(store, blocks)
        _look(store, blocks, votes, lambda _: None)
        assert store.last_certified == BLOCKS
        assert store.scrub(0, BLOCKS) == []
        store.verify_state()
        _look_beside(case, store, say)
        store.close()
    except IndexDamagedError:
        say("start again")
        return
    shutil.rmtree(data / "index")
    again = open_store(data)
    _repair(again, blocks)
    assert again.last_header == truth().header(BLOCKS)
    again.verify_state()
    again.close()
    say("whole again")


def _look(
    store: ChainStore, blocks: list[StoredBlock], votes: list[bytes], say: Callable[[str], None]
) -> None:
    """Nothing that is answered is wrong."""
    taken = _taken(store)
    for height in range(store.last_height + 1):
        header = store.get_header(height)
        is_here = height == 0 or height >= taken
        assert header == truth().header(height) if is_here else header is None
        if height < taken:
            continue  # What was before the state that it took is not here.
        if height == taken > 0:
            assert store.get_block(height) is None, "its header came without the block"
            continue
        try:
            block = store.get_block(height)
            assert block is not None
            assert replace(block, write_set={}) == replace(blocks[height], write_set={})
        except DamagedRecordError:
            say("said a block is damaged")
        proven = store.prove_state(height, b"scribble/k7")
        assert proven is not None
    if store.last_height < BLOCKS:
        say("said blocks are missing")
    kept = store.records()
    assert set(kept) <= set(votes) | {b"vote %d" % height for height in range(BLOCKS + 1)}
    if kept != votes:
        assert store.promise.forgotten, f"votes were forgotten silently: {kept} of {votes}"
        say("said votes are lost")
    if store.promise.forgotten and store.promise.sequence is not None:
        assert store.promise.sequence >= BLOCKS, "the promise must reach every vote"


def _look_beside(case: Case, store: ChainStore, say: Callable[[str], None]) -> None:
    """No nonce is taken twice; a proof is the true one, or it is said and can be kept again."""
    beside = Beside(case.data, store, lambda _: NO_FSYNC)
    for number in NONCES:
        said = beside.said_of_nonce(number)
        assert said != "forgotten" or case.may_forget, "a nonce was taken twice"
        say(f"a nonce is {said}")
    kept = beside.proofs()
    aside = list((case.data / "evidence").glob("*.damaged"))
    if len(kept) + len(aside) < len(EVIDENCE):
        say("a proof was removed")
    for path in aside:
        say(f"set a proof aside: {path.suffix}")
    for height in EVIDENCE:
        assert beside.keep_evidence(height)
    whole = beside.proofs()
    assert set(whole) == set(EVIDENCE)
    assert all(whole[height] == proof for height, proof in kept.items()), "a proof is another one"
    beside.close()


def _repair(store: ChainStore, blocks: list[StoredBlock]) -> None:
    """What the replica does with blocks from peers."""
    for height in store.scrub(0, store.last_height):
        store.repair_block(blocks[height])
    while store.last_height < BLOCKS:
        store.take_all_found()
        if store.last_height < BLOCKS:
            commit(store, *payloads_of(store.last_height + 1, count=2))
    for height in range(_taken(store) + 1, BLOCKS + 1):
        store.put_certificate(height, certificate_of(truth().header(height)))


def _taken(store: ChainStore) -> int:
    """The height whose state came from another; 0 where every block is here."""
    with store.state_reader() as state:
        return state.history_from
