"""The governors of a run: legal entities who decide the planned set changes, one after another.

They propose and approve by the production's governance contract, look at what the chain came to,
and try again until every change is in force at every replica that is held to progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.contracts.replica_sets import GOVERNANCE, latest_set
from services.consensus.domain.ledger.host import read_json
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.ledger.restarting import GovernanceState
from tests.simulation.membership import JOINED, Change
from tests.simulation.workload import State, governance, read

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

TURN_MS: Final = 150
PATIENCE_MS: Final = 1_500
"""After so long a governor signs anew what did not come through."""


class Governors:
    """See the module. `settled` says whether every planned change is in force everywhere."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changes = cluster.scenario.changes
        self._started_ms = 0
        self._signed_ms: dict[str, int] = {}
        self._open: list[bytes] = []
        self._signed = 0

    def start(self) -> None:
        """Begin with the storm."""
        self._started_ms = self._cluster.now_ms
        if self._changes:
            self._cluster.schedule(1, self._turn)

    def begin_epoch(self) -> None:
        """The chain was restarted: what was scheduled is void, and nothing more is planned."""
        self._changes, self._open = (), []

    def settled(self) -> bool:
        """Whether every change is in force at every replica that is held to progress, and nothing
        that was signed for it waits anywhere.
        """
        due = self._cluster.checkers.sets.planned[-1].hash()
        in_force = not self._changes or all(head.next_set_hash == due for head in self._heads())
        return in_force and not self._open

    def _heads(self) -> list[BlockHeader]:
        ledgers = [self._cluster.machines[each].ledger for each in sorted(self._cluster.required)]
        return [each.header(each.last_certified) for each in ledgers]

    def _turn(self) -> None:
        cluster = self._cluster
        if self.settled():
            return
        header = max(self._heads(), key=lambda each: each.height)
        state = cluster.execution.state(header.hash())
        self._open = [each for each in self._open if _waits(each, state, header)]
        for encoded in self._open:
            cluster.clients.bring(encoded)
        latest = latest_set(GovernanceState(state))
        assert latest is not None, "genesis wrote the first set"
        done = latest.replica_set.epoch
        in_force = latest.from_height <= header.height + 1
        if done < len(self._changes) and in_force and self._is_time_for(self._changes[done]):
            self._decide(done, latest.replica_set, state, header)
        cluster.schedule(cluster.random.randint(TURN_MS // 2, TURN_MS), self._turn)

    def _is_time_for(self, change: Change) -> bool:
        """It is planned for now, and whoever joins is ready."""
        ready = change.kind != JOINED or self._is_ready(change.seat)
        return ready and self._cluster.now_ms >= self._started_ms + change.at_ms

    def _is_ready(self, seat: int) -> bool:
        """Whether who joins is there, has come to the chain that it joins, and follows it: it has
        nothing more to wait for before it votes, as operations.md asks of it.
        """
        cluster, machine = self._cluster, self._cluster.machines[seat]
        has_come = cluster.archived > 0 or seat != cluster.scenario.newcomer
        return has_come and machine.core is not None and machine.restoring is None

    def _decide(self, done: int, current: ReplicaSet, state: State, head: BlockHeader) -> None:
        """Propose what is due next, or approve it where it is proposed."""
        wanted = self._cluster.checkers.sets.planned[done + 1]
        rows: list[Json] = [
            {
                "entity_id": member.entity_id,
                "entity_name": member.entity_name,
                "vote_key": member.public_key.hex(),
            }
            for member in wanted.members
        ]
        governors = [each.replica for each in current.members if each.replica < self._cluster.size]
        for proposer in governors:
            key = contract_key(GOVERNANCE, f"proposal/{current.members[proposer].entity_id}")
            match read_json(state, key):
                case {
                    "id": str(identifier),
                    "approvals": list(approvals),
                    "body": {"members": list(members)},
                } if members == rows:
                    for seat in governors:
                        if current.members[seat].entity_id not in approvals:
                            body: dict[str, Json] = {"proposal": identifier}
                            self._offer("approve", seat, body, head)
                    return
        body = {"members": rows, "governors": [], "not_before": 0}
        self._offer("propose", governors[self._signed % len(governors)], body, head)

    def _offer(self, method: str, seat: int, body: Mapping[str, Json], head: BlockHeader) -> None:
        """Sign it, and again where it did not come through."""
        cluster = self._cluster
        place = repr(body) + (str(seat) if method == "approve" else "")
        if cluster.now_ms >= self._signed_ms.get(place, 0) + PATIENCE_MS:
            self._signed += 1
            self._signed_ms[place] = cluster.now_ms
            time_ms = max(cluster.now_ms, head.block_time_ms)
            encoded = governance(
                seat, self._signed, method, body, height=head.height, time_ms=time_ms
            )
            self._open.append(encoded)
            cluster.clients.bring(encoded)


def _waits(encoded: bytes, state: State, head: BlockHeader) -> bool:
    """Whether it may still be executed: clocks that jump let transactions expire."""
    transaction = read(encoded)
    expired = transaction.payload.expires_time_ms < head.block_time_ms
    return not expired and not state.executed(transaction.id)
