"""Campaign: bytes of each file of a data folder are flipped, zeroed, cut off or old (T-13).

A folder is built once and copied for each case. The case damages one place of one file, opens the
folder in a child (damaged LMDB pages can take a process along) and looks at everything: what is
answered must be true, what is missing must be said, lost votes must be known as lost. Then blocks
come back as a peer would send them, and the folder must be whole again, index lost or not. One
folder in four took the state of a later height from another. Each file is first damaged in each
way that changes it (`tests.crash.spoiling`), then by chance. `tests.crash.replicas` does the like
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
from services.consensus.store.errors import RestartDamagedError, RestartMissingError
from services.consensus.store.files import SYSTEM_FILES
from tests.crash.beside import Beside
from tests.crash.checking import truth
from tests.crash.spoiling import CHANGES, FILES, HOW, damage
from tests.crash.writer import (
    DIVERGES_AT,
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
    take_state,
)
from tests.unit.proof.restart_case import RestartCase

BLOCKS: Final = 14
STALE_BLOCKS: Final = 8
STARTS_MAX: Final = 3
"""A start may fall over a damaged index, the next one builds it anew."""

WEIGHTS: Final[dict[str, int]] = {
    **dict.fromkeys(("segments/first", "segments/middle", "segments/last", "index/data.mdb"), 8),
    **dict.fromkeys(("nonces", "evidence/first", "restarts/first", "divergence.json"), 2),
}
"""How often a file is damaged by chance; the others have 1."""
ADOPTED_HEIGHT: Final = 10
ADOPTED_SHARE: Final = 0.25
PART_BYTES: Final = 2_048
NONCES: Final = range(NONCE_EVERY, BLOCKS + 1, NONCE_EVERY)
EVIDENCE: Final = range(EVIDENCE_EVERY, BLOCKS + 1, EVIDENCE_EVERY)
UNTOLD: Final = {
    "nonces": frozenset({"truncate", "stale", "remove"}),
    "divergence.json": frozenset({"remove"}),
}
"""Nobody can tell a nonces file that holds less from one that never held more, nor that there was a
divergence: people take its file away.
"""


def run(folder: Path, *, cases: int, seed: int) -> dict[str, int]:
    """Damage so often; returns how often each file and each kind of damage was tried, and what came
    of it.
    """
    base, old = folders_of(folder)
    peer = open_store(_copied(base, folder / "peer"))
    blocks = [peer.get_block(height) for height in range(BLOCKS + 1)]
    votes = list(peer.records())
    _adopt(folder / "adopted", peer)
    peer.close()
    counts: Counter[str] = Counter(dict.fromkeys((*HOW, *FILES, "adopted"), 0))
    chance = random.Random(seed)
    truths = [block for block in blocks if block is not None]
    for number, (name, how) in enumerate(_chosen(cases, chance)):
        adopted = number >= len(CHANGES) and chance.random() < ADOPTED_SHARE
        data = _copied(folder / "adopted" if adopted else base, folder / "case")
        if chance.random() < 0.4 and not name.startswith("index"):
            shutil.rmtree(data / "index")
        if not damage(data, old, name, how, chance):
            assert adopted, f"nothing changed: {how} {name}"
            how = "remove"  # What a folder with a state has is as it was early in the other.
            damage(data, old, name, how, chance)
        counts.update((how, name, "adopted") if adopted else (how, name))
        case = Case(data, truths, votes, untold=name if how in UNTOLD.get(name, ()) else "")
        try:
            _judge(case, counts)
        except AssertionError as error:
            raise AssertionError(f"case {number} of seed {seed}, {how} {name}: {error}") from error
    return dict(counts)


def folders_of(folder: Path) -> tuple[Path, Path]:
    """A data folder, and what it was early on."""
    base, old = folder / "base", folder / "old"
    write_chain(old, lambda _: None, files=SYSTEM_FILES, blocks=STALE_BLOCKS)
    shutil.copytree(old, base)
    write_chain(base, lambda _: None, files=SYSTEM_FILES, blocks=BLOCKS)
    _keep_restart(base)
    return base, old


def _chosen(cases: int, chance: random.Random) -> list[tuple[str, str]]:
    """Every change of every file once, then some by chance."""
    weights = [WEIGHTS.get(name, 1) for name, _ in CHANGES]
    more = chance.choices(CHANGES, weights, k=max(0, cases - len(CHANGES)))
    return [*CHANGES[:cases], *more]


@dataclass(frozen=True, slots=True)
class Case:
    """A damaged folder, and the truth."""

    data: Path
    blocks: list[StoredBlock]
    votes: list[bytes]
    untold: str
    """The file of which a part may be gone without a word."""


def _adopt(folder: Path, peer: ChainStore) -> None:
    """A folder like the peer's, that has not seen the blocks up to a height: it took its state."""
    store = open_store(folder, options=replace(OPTIONS, segment_bytes_max=SEGMENT_BYTES_MAX))
    store.end_silence()
    store.cover_votes(0, BLOCKS)
    store.adopt_state(take_state(store, peer, ADOPTED_HEIGHT, PART_BYTES))
    for height in range(ADOPTED_HEIGHT + 1, BLOCKS + 1):
        header = commit(store, *payloads_of(height, count=2))
        store.put_certificate(height, certificate_of(header))
    store.append_records(list(peer.records()))
    beside = Beside(folder, store, lambda _: NO_FSYNC)
    for number in NONCES:
        beside.use_nonce(number)
    for height in EVIDENCE:
        beside.keep_evidence(height)
    beside.diverge(DIVERGES_AT)
    beside.close()
    store.close()
    _keep_restart(folder)


def _keep_restart(folder: Path) -> None:
    """A restart, whose header is not here yet: the one file that the writer knows nothing of."""
    store = open_store(folder)
    store.keep_restart(RestartCase().restart())
    store.close()
    open_store(folder).close()


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
    except (IdentityDamagedError, RestartDamagedError, RestartMissingError):
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
    kept = list(store.records())
    assert set(kept) <= set(votes) | {b"vote %d" % height for height in range(BLOCKS + 1)}
    if kept != votes:
        assert store.promise.forgotten, f"votes were forgotten silently: {kept} of {votes}"
        say("said votes are lost")
    if store.promise.forgotten and store.promise.sequence is not None:
        assert store.promise.sequence >= BLOCKS, "the promise must reach every vote"


def _look_beside(case: Case, store: ChainStore, say: Callable[[str], None]) -> None:
    """No nonce is taken twice; a proof is the true one, or it is said and can be kept again; who
    diverged stays so.
    """
    beside = Beside(case.data, store, lambda _: NO_FSYNC)
    assert beside.has_diverged or case.untold == "divergence.json", "it would vote again"
    for number in NONCES:
        said = beside.said_of_nonce(number)
        assert said != "forgotten" or case.untold == "nonces", "a nonce was taken twice"
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
