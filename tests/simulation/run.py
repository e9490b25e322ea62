"""One run from storm to verdict: safety, then progress, then the old throughput.

The bounds, with f of the cluster and the longest time-out T: after healing every request is final
within (f + 1) view changes at 2 T each and a margin for catching up (L1, L3, L4); once the liars
stop, 90 % of an offered load is final in time within 30 s (L5), and views rest (L2).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from services.consensus.domain.replica import Replica
from tests.simulation.ceremony import lose_and_restart
from tests.simulation.cluster import Cluster
from tests.simulation.patience import STEADY_TIMEOUTS
from tests.simulation.scenario import Scenario, its_turn

CATCH_UP_MS: Final = 10_000
CHANGE_MS: Final = 6_000
"""A set change takes a few blocks to be decided and then a window of them."""
STEP_MS: Final = 100
LOAD_REQUESTS: Final = 20
LOAD_EVERY_MS: Final = 25
LOAD_GRACE_MS: Final = 400
LOAD_SHARE: Final = 0.9
RETURN_MS: Final = 30_000
QUIET_MS: Final = 2_000
BETRAYAL_MS: Final = 4_000
SLOW_TIMEOUTS_PRESSED: Final = 10
PRESSED_MS_MAX: Final = 6_000
ONE_MORE: Final = (2, 0)
"""In these seeds one replica stops for good in the end, where the others can bear it."""
STEADY: Final = (10, 4)
"""In these seeds the end is long enough for a time-out to fall back (P7)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one scenario did."""

    scenario: Scenario
    steps: int
    height: int
    counts: Counter[str]
    fired: Counter[str]
    trace: str


def bound_ms(cluster: Cluster) -> int:
    """How long after healing a request may take: (f + 1) view changes with their time-outs."""
    faulty = cluster.replica_set.faulty_max
    changes_ms = len(cluster.scenario.changes) * CHANGE_MS
    return 2 * (faulty + 1) * cluster.parameters.timeout_max_ms + CATCH_UP_MS + changes_ms


def run(scenario: Scenario) -> Report:
    """Run it; raises `ViolationError`."""
    cluster = Cluster(scenario)
    try:
        if scenario.traitors:
            _betrayed(cluster)
        else:
            cluster.storm()
            loss = scenario.loss
            ceremony = None if loss is None else lose_and_restart(cluster, loss)
            calm(cluster)
            if ceremony is not None:
                ceremony.take_in()
            if not scenario.brief:
                quiet(cluster)
            cluster.checkers.at_the_end()
            if not scenario.faulty and loss is None and its_turn(cluster.seed, ONE_MORE):
                one_more(cluster)
        return _report(cluster)
    finally:
        cluster.close()


def calm(cluster: Cluster) -> None:
    """Heal, then demand that all requests become final everywhere within the bound."""
    cluster.heal()
    for client in range(4):
        cluster.clients.submit(client)
    limit_ms = cluster.now_ms + bound_ms(cluster)
    while not (cluster.clients.all_done() and cluster.governors.settled()):
        if cluster.now_ms >= limit_ms:
            starved = cluster.clients.starved()
            if starved:
                cluster.fail(f"L4: clients {sorted(starved)} starve while others are served")
            if not cluster.governors.settled():
                cluster.fail("L1: the set changes are not in force at all correct replicas in time")
            cluster.fail("L1: not all requests are final at all correct replicas in time")
        cluster.advance(cluster.now_ms + STEP_MS)
    _at_the_head(cluster, limit_ms)


def quiet(cluster: Cluster) -> None:
    """The liars stop: throughput returns, then nothing more happens to the view."""
    _press(cluster)
    cluster.stop_lies()
    limit_ms = cluster.now_ms + RETURN_MS
    while not _carries_load(cluster):
        if cluster.now_ms >= limit_ms:
            cluster.fail("L5: the throughput does not return after the faults end")
    views = cluster.counts["view_changes"]
    cluster.advance(cluster.now_ms + QUIET_MS)
    if cluster.counts["view_changes"] != views:
        cluster.fail("L2: views change though nothing is wrong")
    if its_turn(cluster.seed, STEADY):
        cluster.advance(cluster.now_ms + STEADY_TIMEOUTS * _timeout_ms(cluster) + QUIET_MS)


def one_more(cluster: Cluster) -> None:
    """Nobody lies and all are well; now one stops for good. Whatever the others went through,
    they are a quorum (L1).
    """
    votes = [each for each in sorted(cluster.required) if _votes(cluster, each)]
    gone = cluster.random.choice(votes)
    cluster.machines[gone].crash()
    cluster.machines[gone].lost = True
    cluster.required.discard(gone)
    for client in range(4):
        cluster.clients.submit(client)
    limit_ms = cluster.now_ms + bound_ms(cluster)
    while not cluster.clients.all_done():
        if cluster.now_ms >= limit_ms:
            cluster.fail(f"L1: without replica {gone}, which stopped, nothing becomes final")
        cluster.advance(cluster.now_ms + STEP_MS)
    cluster.counts["one_more"] += 1


def _votes(cluster: Cluster, number: int) -> bool:
    return isinstance(cluster.machines[number].core, Replica)


def _press(cluster: Cluster) -> None:
    """Where a primary delays its proposals (B7), one request after the other shows that it is slow;
    the checkers see who bears it (P16).
    """
    slow = {
        each
        for each, acts in cluster.scenario.liars.items()
        if any(act.strategy == "B7" for act in acts)
    }
    limit_ms = cluster.now_ms + min(SLOW_TIMEOUTS_PRESSED * _timeout_ms(cluster), PRESSED_MS_MAX)
    while cluster.now_ms < limit_ms and slow & _primaries(cluster):
        if cluster.clients.all_done():
            cluster.clients.submit()
        cluster.advance(cluster.now_ms + STEP_MS // 10)


def _cores(cluster: Cluster) -> list[Replica]:
    held = (cluster.machines[number].core for number in sorted(cluster.required))
    return [core for core in held if isinstance(core, Replica)]


def _primaries(cluster: Cluster) -> set[int]:
    return {int(core.primary) for core in _cores(cluster)}


def _timeout_ms(cluster: Cluster) -> int:
    return max(core._suspicion.timeout_ms for core in _cores(cluster))


def _at_the_head(cluster: Cluster, limit_ms: int) -> None:
    """L3: whoever was down, lagged or lost its files stands with the others and takes part. Only
    one that found two truths, which no correct replica does, keeps out.
    """
    held = [each for each in cluster.machines[: cluster.nodes] if each.number not in cluster.astray]
    due = [each for each in held if each.liar is None and not each.lost]
    window = cluster.parameters.window
    while True:
        down = [each.number for each in due if each.core is None]
        heights = [each.ledger.last_certified for each in due if each.core is not None]
        silent = [each.number for each in due if each.restoring is not None]
        if not down and not silent and max(heights) - min(heights) <= window:
            return
        if cluster.now_ms >= limit_ms:
            cluster.fail(f"L3: not at the head in time: {heights}, down {down}, silent {silent}")
        cluster.advance(cluster.now_ms + STEP_MS)


def _carries_load(cluster: Cluster) -> bool:
    """Offer requests at a steady rate; are 9 of 10 final by the end and a moment?"""
    requests = []
    for _ in range(LOAD_REQUESTS):
        requests.append(cluster.clients.submit())
        cluster.advance(cluster.now_ms + LOAD_EVERY_MS)
    cluster.advance(cluster.now_ms + LOAD_GRACE_MS)
    done = sum(request in cluster.clients.done_ms for request in requests)
    return done >= LOAD_SHARE * LOAD_REQUESTS


def _betrayed(cluster: Cluster) -> None:
    """B28: safety may break, but then what the correct replicas keep themselves, their evidence and
    the certificates, names more than f, and no correct one ever.
    """
    cluster.storm()
    cluster.heal()
    cluster.advance(cluster.now_ms + BETRAYAL_MS)
    for number in sorted(cluster.correct):
        ledger = cluster.machines[number].ledger
        for height in range(1, ledger.last_certified + 1):
            certificate = ledger.certificate(height)
            assert certificate is not None, "a certified block has its certificate"
            cluster.forensics.hold_certificate(height, certificate)
    culprits, forked = cluster.forensics.culprits(), cluster.checkers.forked
    several = len(culprits) > cluster.replica_set.faulty_max
    if culprits & cluster.correct:
        cluster.fail(f"B28: proof against a correct replica: {culprits}")
    if forked and not several:
        cluster.fail(f"B28: a fork, and proof only against {culprits}")
    cluster.counts["forks"] += forked
    cluster.fired["B28"] += several


def _report(cluster: Cluster) -> Report:
    return Report(
        scenario=cluster.scenario,
        steps=cluster.counts["steps"],
        height=max(cluster.machines[each].ledger.last_certified for each in cluster.correct),
        counts=cluster.counts,
        fired=cluster.fired,
        trace=cluster.fingerprint(),
    )
