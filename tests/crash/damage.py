"""Campaign: bytes of each file of a data folder are flipped, zeroed, cut off or old (T-13).

A folder is built once and copied for each case. The case damages one place of one file, opens the
folder in a child (damaged LMDB pages can take a process along) and looks at everything: what is
answered must be true, what is missing must be said, lost votes must be known as lost. Then blocks
come back as a peer would send them, and the folder must be whole again, index lost or not.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
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
from tests.crash.checking import truth
from tests.crash.writer import fork, write_chain
from tests.integration.ledger.store_builder import (
    certificate_of,
    commit,
    open_store,
    payloads_of,
    segment_files,
)

BLOCKS: Final = 14
STALE_BLOCKS: Final = 8
PAGE_BYTES: Final = 4_096
STARTS_MAX: Final = 3
"""A start may fall over a damaged index, the next one builds it anew."""

HOW: Final = ("flip", "zero", "truncate", "stale", "remove")
FILES: Final = (
    "segments/00000001.seg",
    "segments/last",
    "index/data.mdb",
    "index/lock.mdb",
    "promise.1.json",
    "promise.2.json",
    "identity.json",
    "identity.copy.json",
    "session",
    "lock",
)
WEIGHTS: Final = (8, 8, 8, 1, 1, 1, 1, 1, 1, 1)


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
    peer.close()
    counts: Counter[str] = Counter({how: 0 for how in HOW} | {name: 0 for name in FILES})
    chance = random.Random(seed)
    for number in range(cases):
        name = chance.choices(FILES, WEIGHTS)[0] if number >= len(FILES) else FILES[number]
        how = HOW[number % len(HOW)]
        data = _copied(base, folder / "case")
        if chance.random() < 0.4 and not name.startswith("index"):
            shutil.rmtree(data / "index")
        damage(data, old, name, how, chance)
        counts.update((how, name))
        try:
            _judge(data, [block for block in blocks if block is not None], votes, counts)
        except AssertionError as error:
            raise AssertionError(f"case {number} of seed {seed}, {how} {name}: {error}") from error
    return dict(counts)


def damage(data: Path, old: Path, name: str, how: str, chance: random.Random) -> None:
    """Do it; a file that is not there is damaged already."""
    path = segment_files(data)[-1] if name == "segments/last" else data / name
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


def _copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)


def _judge(data: Path, blocks: list[StoredBlock], votes: list[bytes], counts: Counter[str]) -> None:
    """Start until it stands, in children; what a child found wrong is its last line."""
    for _ in range(STARTS_MAX):
        child = fork(lambda say: examine(data, blocks, votes, say))
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


def examine(
    data: Path, blocks: list[StoredBlock], votes: list[bytes], say: Callable[[str], None]
) -> None:
    """One start: look at all answers, repair, and look again."""
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
    for height in range(store.last_height + 1):
        assert store.get_header(height) == truth().header(height)
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


def _repair(store: ChainStore, blocks: list[StoredBlock]) -> None:
    """What the replica does with blocks from peers."""
    for height in store.scrub(0, store.last_height):
        store.repair_block(blocks[height])
    while store.last_height < BLOCKS:
        store.take_all_found()
        if store.last_height < BLOCKS:
            commit(store, *payloads_of(store.last_height + 1, count=2))
    for height in range(1, BLOCKS + 1):
        store.put_certificate(height, certificate_of(truth().header(height)))
