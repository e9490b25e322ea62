"""A head of a state that comes late is no offence of who sent it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.jobs import Pause
from services.consensus.refusals import Reason
from services.consensus.state_transfer import StateTransfer
from tests.unit.proof.proof_keys import FakeKeys, Replicas

LAST_HEIGHT = 20
KEYS = FakeKeys()
FIRST = Replicas(KEYS)
SECOND = FIRST.next_epoch()
THIRD = SECOND.next_epoch()


class _Ledger:
    """A replica that restores and has come as far as `LAST_HEIGHT` by blocks, into `SECOND`."""

    store = SimpleNamespace(last_height=LAST_HEIGHT, last_certified=LAST_HEIGHT)
    genesis = SimpleNamespace(
        parameters=SimpleNamespace(snapshot_interval=4, window=4),
        hash=lambda: b"g" * 32,
        restart_authorities=None,
    )

    async def read(self, question: Callable[[], Any]) -> Any:
        return question()

    def set_at(self, height: int) -> ReplicaSet:
        return SECOND.set


class Restoring:
    """What looks for a state for that replica, and whom it accuses of what."""

    def __init__(self) -> None:
        self.refused: list[tuple[int, Reason]] = []
        refusals = SimpleNamespace(count=lambda sender, why, *_: self.refused.append((sender, why)))
        self.transfer = StateTransfer(
            driver=cast(Any, SimpleNamespace(pause=Pause.RESTORING)),
            ledger=cast(Any, _Ledger()),
            links=cast(Any, SimpleNamespace(connected=frozenset)),
            metrics=cast(Any, SimpleNamespace(refusals=refusals)),
            verify=KEYS.verify,
            without_blocks_steps=0,
        )
        self.transfer.step(wanted=True, there=None)

    async def take(self, by: Replicas, height: int, *changes: SetChange) -> None:
        header = by.header(height)
        certified = ledger_pb2.CertifiedHeader(
            header=header.encode(), certificate=by.certify(header).encode()
        )
        encoded = [change.encode() for change in changes]
        response = peer_pb2.StateResponse(
            height=height, certified_header=certified, set_changes=encoded
        )
        await self.transfer._take(3, response)


def change(old: Replicas, height: int, new: Replicas, *, by: Replicas) -> SetChange:
    header = old.header(height, next_set=new.set)
    return SetChange(header, by.certify(header), new.set)


INTO_SECOND = change(FIRST, 9, SECOND, by=FIRST)
INTO_THIRD = change(SECOND, LAST_HEIGHT + 2, THIRD, by=SECOND)


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
    restoring = Restoring()
    header = ledger_pb2.CertifiedHeader(header=b"of an old epoch", certificate=b"of an old set")
    response = peer_pb2.StateResponse(height=height, certified_header=header)
    await restoring.transfer._take(3, response)
    assert restoring.refused == [(3, reason)]


@pytest.mark.req("G2-13-2")
async def test_a_head_that_was_asked_for_in_an_earlier_epoch_is_judged_from_this_one() -> None:
    """pbft.md T3: its set changes begin before the set that is known by now."""
    restoring = Restoring()
    await restoring.take(SECOND, LAST_HEIGHT + 4, INTO_SECOND)
    assert list(restoring.transfer._heads[3].set_changes) == []
    await restoring.take(THIRD, LAST_HEIGHT + 4, INTO_SECOND, INTO_THIRD)
    assert list(restoring.transfer._heads[3].set_changes) == [INTO_THIRD]
    assert restoring.refused == []


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_set_change_that_the_known_set_did_not_sign_leads_nowhere() -> None:
    forged = change(SECOND, LAST_HEIGHT + 2, THIRD, by=THIRD)
    for changes in ((forged,), (INTO_SECOND, forged), (INTO_SECOND,), ()):
        restoring = Restoring()
        await restoring.take(THIRD, LAST_HEIGHT + 4, *changes)
        assert restoring.refused == [(3, Reason.UNPROVEN)]
        assert not restoring.transfer._heads
