"""One run from storm to verdict: safety, then progress, then the old throughput.

The bounds, with f of the cluster and the longest time-out T: after healing every request is final
within (f + 1) view changes at 2 T each and a margin for catching up (L1, L3, L4); once the liars
stop, 90 % of an offered load is final in time within 30 s (L5), and views rest (L2).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from tests.simulation.checkers import ForkError, ViolationError
from tests.simulation.cluster import Cluster
from tests.simulation.scenario import Scenario

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
            calm(cluster)
            quiet(cluster)
            cluster.checkers.at_the_end()
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
    cluster.stop_lies()
    limit_ms = cluster.now_ms + RETURN_MS
    while not _carries_load(cluster):
        if cluster.now_ms >= limit_ms:
            cluster.fail("L5: the throughput does not return after the faults end")
    views = cluster.counts["view_changes"]
    cluster.advance(cluster.now_ms + QUIET_MS)
    if cluster.counts["view_changes"] != views:
        cluster.fail("L2: views change though nothing is wrong")


def _at_the_head(cluster: Cluster, limit_ms: int) -> None:
    """L3: whoever lagged or lost its files stands with the others and takes part."""
    lagging = [each for each in cluster.machines[: cluster.nodes] if each.liar is None]
    window = cluster.parameters.window
    while True:
        heights = [each.ledger.last_certified for each in lagging if each.core is not None]
        silent = [each.number for each in lagging if each.restoring is not None]
        if max(heights) - min(heights) <= window and not silent:
            return
        if cluster.now_ms >= limit_ms:
            cluster.fail(f"L3: not at the head in time, or silent: {silent}, {heights}")
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
    """B28: safety may break, but then the evidence names more than f, and no correct one."""
    cluster.fired["B28"] += 1
    try:
        cluster.storm()
        cluster.heal()
        cluster.advance(cluster.now_ms + BETRAYAL_MS)
    except ForkError:
        cluster.counts["forks"] += 1
        _meet(cluster)
        culprits = cluster.forensics.culprits()
        if culprits & cluster.correct:
            raise ViolationError(f"B28: proof against a correct replica: {culprits}") from None
        if len(culprits) <= cluster.replica_set.faulty_max:
            raise ViolationError(f"B28: a fork, and proof only against {culprits}") from None


def _meet(cluster: Cluster) -> None:
    """Correct replicas lay side by side the certificates that they keep."""
    for number in sorted(cluster.correct):
        ledger = cluster.machines[number].ledger
        for height in range(1, ledger.last_certified + 1):
            certificate = ledger.certificate(height)
            if certificate is not None:
                cluster.forensics.hold_certificate(height, certificate)


def _report(cluster: Cluster) -> Report:
    return Report(
        scenario=cluster.scenario,
        steps=cluster.counts["steps"],
        height=max(cluster.machines[each].ledger.last_certified for each in cluster.correct),
        counts=cluster.counts,
        fired=cluster.fired,
        trace=cluster.fingerprint(),
    )
