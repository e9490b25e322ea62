"""The clients: they want requests done, ask again with patience, and know what was acknowledged.

A request is done when a certified block says so at every replica that is held to progress. The
client's transaction may expire meanwhile; then it signs another for the same request.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from guqiao_sdk.proof.receipt import Outcome
from tests.simulation.workload import CLIENTS, ExecutedBlock, Request, read, transaction

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.machine import Machine

RESUBMIT_MS: Final = 700
AFTERWARDS_MS: Final = 30


class Clients:
    """All clients of a run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.open: dict[Request, bytes] = {}
        self.since_ms: dict[Request, int] = {}
        self.done_ms: dict[Request, int] = {}
        self.acknowledged: dict[bytes, tuple[int, bytes]] = {}
        """Transaction id -> height and header hash that a client was shown."""
        self.shown: dict[int, bytes] = {}
        """Of these, each height with its header hash (S7)."""
        self._signed: dict[Request, bytes] = {}
        self._by_id: dict[str, Request] = {}
        self._done_at: defaultdict[Request, set[int]] = defaultdict(set)
        self._numbers = 0
        self._storm_ends_ms = 0
        self._per_turn = 0
        self._planned = 0

    def start(self, requests: int, storm_ms: int) -> None:
        """Spread that many requests over the storm."""
        self._storm_ends_ms = self._cluster.now_ms + storm_ms
        turns = max(1, storm_ms // RESUBMIT_MS)
        self._planned, self._per_turn = requests, -(-2 * requests // turns)
        if self._cluster.scenario.at_once:
            self._per_turn = 0
            for _ in range(requests):
                self.submit()
            self._planned = 0
        self._cluster.schedule(1, self._turn)

    def submit(self, client: int | None = None) -> Request:
        """A new request."""
        self._numbers += 1
        client = self._numbers % CLIENTS if client is None else client
        request = Request(client, self._numbers)
        self._by_id[request.id] = request
        self.since_ms[request] = self._cluster.now_ms
        self.open[request] = self._sign(request)
        self._offer(request)
        return request

    def on_final(self, machine: Machine, height: int) -> None:
        """A replica that is held to progress has a certified block."""
        self.note_final(machine.number, height, machine.ledger.block(height))

    def note_final(self, number: int, height: int, block: ExecutedBlock) -> None:
        """The block is final at a replica that is held to progress."""
        for encoded, receipt in zip(block.batch.transactions, block.result.receipts, strict=True):
            if receipt.outcome is Outcome.REFUSED:
                continue
            place = (height, block.header.hash())
            self.acknowledged.setdefault(receipt.transaction_id, place)
            self.shown.setdefault(*place)
            request = self._by_id.get(read(encoded).payload.request_id)
            if request is not None:
                self._note_done(request, number)

    def all_done(self) -> bool:
        """Whether nothing is open."""
        return not self.open

    def starved(self) -> set[int]:
        """Clients with a request that is open while later ones of others are done (L4)."""
        last_done_ms = max(self.done_ms.values(), default=0)
        return {each.client for each in self.open if self.since_ms[each] < last_done_ms}

    def bring(self, encoded: bytes) -> None:
        """Bring a transaction to every replica, or to most while the storm lasts."""
        cluster = self._cluster
        for machine in cluster.machines:
            if cluster.now_ms >= self._storm_ends_ms or cluster.random.random() < 0.9:
                delay_ms = cluster.random.randint(1, AFTERWARDS_MS)
                cluster.schedule(delay_ms, machine.request, encoded)

    def begin_epoch(self, base: int, requests: int, storm_ms: int) -> int:
        """The chain goes on from `base`: what was shown above it is asked for again. Returns how
        many transactions a client was shown there.
        """
        cluster = self._cluster
        known = self.acknowledged
        self.acknowledged = {each: place for each, place in known.items() if place[0] <= base}
        self.shown = {height: shown for height, shown in self.shown.items() if height <= base}
        self.done_ms.clear()
        self._done_at.clear()
        for request in self._by_id.values():
            self.since_ms[request] = cluster.now_ms
            self.open[request] = self._signed[request]
        for number in sorted(cluster.required):
            machine = cluster.machines[number]
            for height in range(1, machine.ledger.last_certified + 1):
                self.on_final(machine, height)
        self._storm_ends_ms, self._planned = cluster.now_ms + storm_ms, self._planned + requests
        return len(known) - len(self.acknowledged)

    def _note_done(self, request: Request, number: int) -> None:
        done_at = self._done_at[request]
        done_at.add(number)
        if len(done_at) == len(self._cluster.required) and request in self.open:
            del self.open[request]
            self.done_ms[request] = self._cluster.now_ms

    def _turn(self) -> None:
        cluster = self._cluster
        if cluster.now_ms < self._storm_ends_ms:
            planned = min(self._planned, cluster.random.randint(0, self._per_turn))
            self._planned -= planned
        else:
            planned, self._planned = self._planned, 0
        for request in list(self.open):
            self._renew(request)
            self._offer(request)
        for _ in range(planned):
            self.submit()
        cluster.schedule(cluster.random.randint(RESUBMIT_MS // 3, RESUBMIT_MS), self._turn)

    def _sign(self, request: Request) -> bytes:
        height, time_ms = self._place()
        self._signed[request] = transaction(request, height=height, time_ms=time_ms)
        return self._signed[request]

    def _renew(self, request: Request) -> None:
        """Sign anew what has expired or is about to."""
        height, time_ms = self._place()
        payload = read(self.open[request]).payload
        soon = payload.expires_time_ms < time_ms + 10_000
        if (
            soon
            or payload.expires_height < height + 20
            or payload.expires_time_ms > time_ms + 550_000
        ):
            self.open[request] = self._sign(request)

    def _place(self) -> tuple[int, int]:
        """Height and time as clients see them: of the chain, and not before the true time."""
        ledgers = [self._cluster.machines[each].ledger for each in self._cluster.required]
        heads = [ledger.header(ledger.last_certified) for ledger in ledgers]
        last = max(heads, key=lambda header: header.height)
        return last.height, max(last.block_time_ms, self._cluster.now_ms)

    def _offer(self, request: Request) -> None:
        self.bring(self.open[request])
