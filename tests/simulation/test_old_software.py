"""Software of earlier times on a machine: it lacks a contract of the chain, and does not start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation import cluster as cluster_module
from tests.simulation.cluster import Cluster
from tests.simulation.fault_plan import Fault
from tests.simulation.faults import apply_fault
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, honest
from tests.simulation.workload import CATALOGUE

KILLED = Fault(300, "kill", machines=(1,))
INSTALLED = Fault(330, "old_binary", machines=(1,), value=1)
STARTED = Fault(400, "start", machines=(1,))
REPLACED = Fault(1_200, "old_binary", machines=(1,))


def scenario(*faults: Fault) -> Scenario:
    return replace(honest(1, 4), requests=20, storm_ms=1_500, faults=faults)


def test_old_software_does_not_start_whoever_starts_it_until_it_is_replaced() -> None:
    cluster = Cluster(scenario())
    machine = cluster.machines[1]
    for fault, runs in ((INSTALLED, False), (STARTED, False), (REPLACED, True)):
        apply_fault(cluster, fault)
        assert (machine.core is not None) == runs
    assert cluster.fired["old_binary"] == 2


def test_software_that_has_all_contracts_starts_and_the_fault_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "OLD_CATALOGUE", CATALOGUE)
    cluster = Cluster(scenario())
    apply_fault(cluster, INSTALLED)
    assert cluster.machines[1].core is not None
    assert cluster.fired["old_binary"] == 0


def test_old_software_makes_another_run_of_the_same_seed() -> None:
    """The replica that the third fault starts is there in one run, and misses in the other."""
    without = run(scenario(KILLED, STARTED))
    with_it = run(scenario(KILLED, INSTALLED, STARTED, REPLACED))
    assert (without.fired["old_binary"], with_it.fired["old_binary"]) == (0, 2)
    assert without.trace != with_it.trace


def test_a_replica_on_which_nobody_replaced_it_in_the_storm_catches_up_afterwards() -> None:
    assert run(scenario(KILLED, INSTALLED, STARTED)).fired["old_binary"] == 2
