"""A replica warns of an entity with more than f keys whenever it begins with a set: of genesis, one
that was decided, one of a restart, and after its own start (pbft.md G1, Q4).
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from guqiao_sdk.proof.quorum import ReplicaSet
from services.chassis.telemetry import Metrics
from services.consensus.domain.messages import ReplicaId, SequenceNumber, View
from services.consensus.epochs import Epochs
from services.consensus.metrics import ReplicaMetrics
from tests.unit.consensus.protocol import GENESIS, PARAMETERS
from tests.unit.proof.proof_keys import FakeKeys, Replicas

EVENT = "set.entity_above_faulty_max"


def set_of(epoch: int, *entities: str) -> ReplicaSet:
    found = Replicas(FakeKeys(), epoch=epoch).set
    members = tuple(
        replace(member, entity_id=entity)
        for member, entity in zip(found.members, entities, strict=True)
    )
    return replace(found, members=members)


def epochs_of(replica_set: ReplicaSet) -> Epochs:
    memory = SimpleNamespace(
        genesis=SimpleNamespace(epoch=0),
        must_restore=False,
        head=lambda: GENESIS,
        records=list,
        view_floor=lambda _: View(0),
        set_at=lambda _: replica_set,
        epoch_base=lambda _: SequenceNumber(0),
        epoch_end=lambda _: None,
        is_over=lambda _: False,
    )
    return Epochs(ReplicaId(0), cast(Any, memory), {}, PARAMETERS, lambda: 0)


@pytest.mark.req("G2-16-3")
@pytest.mark.parametrize("epoch", [0, 1], ids=["of genesis", "after a change or a restart"])
@pytest.mark.parametrize(
    ("entities", "above"), [("aabc", ["a"]), ("aabb", ["a", "b"]), ("abcd", [])]
)
def test_a_set_with_an_entity_above_f_is_warned_of(
    epoch: int, entities: str, above: list[str]
) -> None:
    with capture_logs() as logs:
        core = epochs_of(set_of(epoch, *entities)).open([])
    warned = [each for each in logs if each["event"] == EVENT]
    assert [each["entities"] for each in warned] == ([above] if above else [])
    assert all(each["code"] == "ENTITY_ABOVE_FAULTY_MAX" for each in warned)
    assert all(each["epoch"] == epoch for each in warned)
    metrics = Metrics()
    nobody = SimpleNamespace(connected=tuple)
    ReplicaMetrics(metrics).observe(core, cast(Any, ()), cast(Any, nobody), "")
    told = f"guqiao_consensus_entities_above_faulty_max {len(above)}.0"
    assert told.encode() in metrics.render()
