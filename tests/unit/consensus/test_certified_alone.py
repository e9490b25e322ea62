"""What only one replica certified keeps no view from deciding: pbft.md V5."""

from __future__ import annotations

import pytest

from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import ViewChanged
from services.consensus.domain.messages import NewView, ReplicaId
from tests.simulation.keys import replica_set, verify
from tests.unit.consensus.protocol import (
    PARAMETERS,
    PAY,
    certified,
    committed,
    prepared_certificate,
    sent,
    ticking,
    view_change,
)


@pytest.mark.req("G2-07-1")
def test_v5_a_certificate_that_a_traitor_alone_holds_keeps_no_view_from_deciding() -> None:
    """It comes first, and replica 0 gives nobody the blocks: the view starts without it."""
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    held = (prepared_certificate(0, 1, PAY.digest()),)
    bench.step(view_change(0, 1, certified=1), 0)
    bench.step(view_change(2, 1, prepared=held), 2)
    assert (bench.core.view, bench.core.active) == (1, False)
    effects = bench.step(view_change(3, 1, prepared=held), 3)
    (message,) = [each for each in sent(effects) if isinstance(each, NewView)]
    assert [each.replica for each in message.view_changes] == [1, 2, 3]
    assert [each.digest for each in message.reproposals] == [PAY.digest()]
    assert authenticate(message, ReplicaId(1), replica_set(4), verify, PARAMETERS.window) is None


@pytest.mark.req("G2-07-1")
def test_v5_a_height_that_the_new_primary_certifies_itself_opens_its_view() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    bench.step(view_change(2, 1, certified=1), 2)
    bench.step(view_change(3, 1), 3)
    assert not bench.core.active
    effects = certified(bench, 1)
    assert [each.view for each in effects if isinstance(each, ViewChanged)] == [1]
