"""How each kind of fault in a scenario is applied to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from guqiao_sdk.proof.quorum import faulty_max
from tests.simulation.fault_plan import Fault
from tests.simulation.network import Weather

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

KEPT_BLOCKS: Final = 4
ARCHIVED_MIN: Final = 6
AGAIN_MS: Final = 150

Apply = Callable[["Cluster", Fault], None]


def apply_fault(cluster: Cluster, fault: Fault) -> None:
    """Let it happen."""
    _APPLY[fault.kind](cluster, fault)


def _weather(cluster: Cluster, fault: Fault) -> None:
    random = Random(int(fault.value))
    cluster.network.weather = Weather(
        drop=random.choice([0.0, 0.02, 0.2]),
        duplicate=random.choice([0.0, 0.05, 0.3]),
        slow=random.choice([0.0, 0.1, 0.5]),
        delay_max_ms=random.choice([5, 20, 60]),
        slow_max_ms=random.choice([100, 1_000]),
    )


def _split(cluster: Cluster, fault: Fault) -> None:
    cluster.network.split(fault.groups, fault.kind)


def _minority_primary(cluster: Cluster, fault: Fault) -> None:
    """The primary of the latest view is left with too few for a quorum."""
    cores = [each.core for each in cluster.machines if each.core is not None]
    latest = max(cores, key=lambda core: (core.epoch, core.view), default=None)
    primary = 0 if latest is None else latest.primary
    others = [each for each in range(len(cluster.machines)) if each != primary]
    few = (primary, *others[: faulty_max(cluster.size)])
    cluster.network.split((few, [each for each in others if each not in few]), fault.kind)


def _one_way(cluster: Cluster, fault: Fault) -> None:
    cluster.network.cut = dict.fromkeys(fault.links, fault.kind)


def _flapping(cluster: Cluster, fault: Fault) -> None:
    machine = fault.machines[0]
    others = tuple(each for each in range(len(cluster.machines)) if each != machine)
    cluster.network.split(((machine,), others), fault.kind)


def _heal_network(cluster: Cluster, fault: Fault) -> None:
    cluster.fired["partition_heal"] += bool(cluster.network.cut)
    cluster.network.cut = {}


def _swizzle(cluster: Cluster, fault: Fault) -> None:
    if fault.value:
        cluster.network.clogged.update(fault.machines)
    else:
        cluster.network.clogged.difference_update(fault.machines)
        cluster.release()


def _slow_link(cluster: Cluster, fault: Fault) -> None:
    for link in fault.links:
        cluster.network.slow[link] = int(fault.value)


def _tcp_reset(cluster: Cluster, fault: Fault) -> None:
    for link in fault.links:
        cluster.network.resets[link] += 1


def _slow_disk(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        cluster.disk_delays[number] = int(fault.value)


def _corrupt_over(cluster: Cluster, fault: Fault) -> None:
    cluster.network.corrupt_ratio = fault.value


def _kill(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        if cluster.machines[number].core is not None:
            cluster.fired[fault.kind] += 1
            cluster.machines[number].crash()


def _start(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        cluster.machines[number].start()


def _old_binary(cluster: Cluster, fault: Fault) -> None:
    """Software that lacks a contract of the chain is installed: whoever starts the machine, it does
    not come up, until the present software is there again.
    """
    for number in fault.machines:
        machine = cluster.machines[number]
        if fault.value:
            machine.crash()
            cluster.old_binaries.add(number)
        else:
            cluster.old_binaries.discard(number)
        machine.start()


def _old_config(cluster: Cluster, fault: Fault) -> None:
    """The machine runs with its first vote key alone and another pace; then with what is right."""
    for number in fault.machines:
        machine = cluster.machines[number]
        machine.crash()
        if fault.value:
            cluster.old_configs.add(number)
        else:
            cluster.old_configs.discard(number)
        machine.start()
        cluster.fired[fault.kind] += bool(fault.value) and machine.core is not None


def _pause(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        machine = cluster.machines[number]
        if fault.value and machine.core is not None:
            cluster.fired["pause"] += 1
            machine.paused = True
        elif not fault.value:
            machine.resume()


def _clock(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        clock = cluster.machines[number].clock
        cluster.fired[fault.kind] += cluster.machines[number].core is not None
        if fault.kind == "clock_jump":
            clock.jump(int(fault.value))
        elif fault.kind == "clock_drift":
            clock.drift(fault.value)
        else:
            clock.freeze()


def _clock_right(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        cluster.machines[number].clock.right()


def _fail_next_write(cluster: Cluster, fault: Fault) -> None:
    """A failed fsync, or a power cut before it: what was written is gone, or a part is there."""
    for number in fault.machines:
        cluster.machines[number].disk.fail_next(fault.kind)


def _read_error(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        cluster.machines[number].disk.gives_nothing = bool(fault.value)


def _enospc(cluster: Cluster, fault: Fault) -> None:
    for number in fault.machines:
        disk = cluster.machines[number].disk
        if fault.value:
            disk.fill(cluster.now_ms)
        else:
            disk.clear()


def _newcomer(cluster: Cluster, fault: Fault) -> None:
    """A node comes with an empty folder once the chain is old enough: blocks that all others have
    are in archives by then.
    """
    number = fault.machines[0]
    others = [each for each in cluster.machines if each.number != number]
    archived = min(each.ledger.last_certified for each in others) - KEPT_BLOCKS
    if archived < ARCHIVED_MIN:
        cluster.schedule(AGAIN_MS, lambda: _newcomer(cluster, fault))
        return
    cluster.archived = archived
    cluster.machines[number].crash()
    cluster.wipe(number)
    cluster.machines[number].start()


_APPLY: Final[dict[str, Apply]] = {
    "weather": _weather,
    "halves": _split,
    "ring": _split,
    "bridge": _split,
    "minority_primary": _minority_primary,
    "one_way": _one_way,
    "flapping": _flapping,
    "heal_network": _heal_network,
    "swizzle": _swizzle,
    "slow_link": _slow_link,
    "tcp_reset": _tcp_reset,
    "slow_disk": _slow_disk,
    "corrupt_over": _corrupt_over,
    "kill": _kill,
    "restart_storm": _kill,
    "all_at_once": _kill,
    "rolling": _kill,
    "start": _start,
    "pause": _pause,
    "old_binary": _old_binary,
    "old_config": _old_config,
    "clock_jump": _clock,
    "clock_drift": _clock,
    "clock_frozen": _clock,
    "clock_right": _clock_right,
    "lost_write": _fail_next_write,
    "torn_write": _fail_next_write,
    "fsync_error": _fail_next_write,
    "enospc": _enospc,
    "read_error": _read_error,
    "newcomer": _newcomer,
}
