"""Nothing that a replica holds grows with the height (row P10 of the reliability plan)."""

from __future__ import annotations

import gc
from collections import Counter
from types import FunctionType, MethodType, ModuleType

import pytest

from services.consensus.domain.messages import (
    BatchRefused,
    CertifiedElsewhere,
    Prepare,
    Propose,
    SequenceNumber,
)
from services.consensus.domain.replica import Replica
from tests.unit.consensus.protocol import (
    PARAMETERS,
    START_MS,
    Bench,
    a_batch,
    certified,
    committed,
    finality_certificate,
    header_hash,
    sent,
    ticking,
)

WINDOW = PARAMETERS.window


def reachable(core: Replica) -> Counter[str]:
    """How many objects of each type hang on a replica, its code and types left aside."""
    seen: set[int] = set()
    found: Counter[str] = Counter()
    left: list[object] = [core]
    while left:
        each = left.pop()
        if isinstance(each, type | FunctionType | MethodType | ModuleType):
            continue
        if id(each) in seen and not isinstance(each, int):  # Python shares some numbers.
            continue
        seen.add(id(each))
        found[type(each).__name__] += 1
        left += gc.get_referents(each)
    return found


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(("me", "heights"), [(0, 10_000), (1, 100_000)], ids=["primary", "backup"])
def test_p10_nothing_grows_with_the_height(me: int, heights: int) -> None:
    """Checkpoints let go of everything at or below them: what a replica holds is after 100,000
    heights (the plan's figure) what it was after a hundred. Late votes come all the way, too.
    """
    bench = ticking(me)
    early = Counter[str]()
    for number in range(1, heights + 1):
        batch = a_batch(f"b{number}")
        if me == 0:
            bench.step(Propose(batch))
            agreed(bench, number, batch.digest())
        else:
            committed(bench, number, batch)
        certified(bench, number)
        late = max(number - WINDOW - 1, 1)
        bench.receive_commit(3, late, batch.digest())
        bench.receive_checkpoint(3, late, b"h" * 32)
        bench.records.clear()
        if number == 100:
            early = reachable(bench.core)
    core = bench.core
    assert core.low_watermark == heights
    assert not core._ordering.entries
    assert not core._ordering._waiting
    assert not core._checkpoints._votes
    assert not core._checkpoints._own
    assert not core._later.votes
    assert not core._later.proposals
    assert core.records() == []
    assert early["int"] > 10
    assert reachable(core) == early


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("why", ["waits for its predecessor", "was refused"])
def test_p10_c2_what_others_certified_leaves_no_proposal_behind(why: str) -> None:
    """N2, N4: proposals that were never accepted here are let go of with their height, too."""
    bench = ticking(1)
    held: list[Counter[str]] = []
    for height in range(2, 402, 2):
        batch = a_batch(f"b{height:03}", START_MS)
        if why == "was refused":
            effects = bench.step(BatchRefused(bench.pre_prepare(height, batch), "bad"))
        else:
            effects = bench.receive_pre_prepare(height, batch)
        assert not [each for each in sent(effects) if isinstance(each, Prepare)]
        assert reachable(bench.core)["PrePrepare"] + reachable(bench.core)["Statement"] > 0
        header, certificate = header_hash("block"), finality_certificate(height, b"h" * 32)
        bench.step(CertifiedElsewhere(SequenceNumber(height), header, START_MS, certificate))
        held.append(reachable(bench.core))
    assert bench.core.low_watermark == 400
    assert held[-1]["PrePrepare"] == 0
    assert held[-1] == held[5]


def agreed(bench: Bench, number: int, digest: bytes) -> None:
    """The backups prepare and commit what the primary proposed."""
    for peer in (1, 2):
        bench.receive_prepare(peer, number, digest)
    for peer in (1, 2):
        bench.receive_commit(peer, number, digest)
