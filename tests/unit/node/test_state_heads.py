"""A head of a state that comes late is of no use, and no offence of who sent it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from services.consensus.jobs import Pause
from services.consensus.refusals import Reason
from services.consensus.state_transfer import StateTransfer

LAST_HEIGHT = 20


class _Ledger:
    """A replica that restores and has come as far as `LAST_HEIGHT` by blocks."""

    store = SimpleNamespace(last_height=LAST_HEIGHT, last_certified=LAST_HEIGHT)
    genesis = SimpleNamespace(parameters=SimpleNamespace(snapshot_interval=4))

    async def read(self, question: Callable[[], Any]) -> Any:
        return question()


@pytest.mark.parametrize(
    ("height", "reason"),
    [(LAST_HEIGHT, Reason.UNASKED), (LAST_HEIGHT + 4, Reason.UNPROVEN)],
)
async def test_a_head_that_blocks_have_overtaken_is_dropped_without_a_word(
    height: int, reason: Reason
) -> None:
    """It may be of an epoch that is over here: no set that is known would judge it. One that lies
    ahead is judged, and this one does not hold.
    """
    refused: list[tuple[int, Reason]] = []
    refusals = SimpleNamespace(count=lambda sender, why, *_: refused.append((sender, why)))
    transfer = StateTransfer(
        driver=cast(Any, SimpleNamespace(pause=Pause.RESTORING)),
        ledger=cast(Any, _Ledger()),
        links=cast(Any, None),
        metrics=cast(Any, SimpleNamespace(refusals=refusals)),
        verify=lambda key, message, signature: True,
    )
    header = ledger_pb2.CertifiedHeader(header=b"of an old epoch", certificate=b"of an old set")
    await transfer._take(3, peer_pb2.StateResponse(height=height, certified_header=header))
    assert refused == [(3, reason)]
