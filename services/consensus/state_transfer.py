"""A state from the peers, for a replica whose missing blocks nobody gives any more.

Only while the replica restores, and only when blocks do not come fast enough (`BlockPace`):
whoever has a block gives it, and a replica that replayed all of them has all of the history. The
head of the state is believed by its finality certificate, through the set changes since the set
known here; f + 1 of its set's members must offer the same one, so an honest one has it. Every part
is proven by itself against its state root (`StateBuild`): a source that lies is named and left.
docs/protocol/pbft.md, steps T1 to T9.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.light_client import TrustedChain
from guqiao_sdk.proof.quorum import ReplicaSet
from services.chassis.errors import UnavailableError
from services.consensus import wire
from services.consensus.answering import Answering
from services.consensus.block_pace import TEN_SECONDS_STEPS, BlockPace, Pace
from services.consensus.domain.ledger.state_parts import (
    PART_BYTES_MAX,
    Entry,
    Prefix,
    StateBuild,
    StatePart,
    read_prefix,
)
from services.consensus.driver import Driver
from services.consensus.fair_queue import FairQueue
from services.consensus.jobs import Pause
from services.consensus.ledger import Ledger
from services.consensus.metrics import ReplicaMetrics
from services.consensus.peers import Links
from services.consensus.refusals import Reason
from services.consensus.set_paths import (
    Head,
    Partway,
    PathTooLongError,
    SetPaths,
    UnaskedError,
)
from services.consensus.store.index import PROVABLE_HEIGHTS
from services.consensus.store.segment import Position
from services.consensus.store.state_intake import Snapshot

STATE_INTERVAL_MAX: Final = PROVABLE_HEIGHTS // 4
"""So that the state of a multiple of it stays provable for three times as long."""

WITHOUT_BLOCKS_STEPS: Final = TEN_SECONDS_STEPS
"""Steps of restoring in which no block came, or too few, before a state is asked for."""

SILENT_STEPS: Final = 50
"""Steps after which what a source did not answer is asked of another: five seconds."""

RESPONSES_MAX: Final = 16
PEER_BYTES_MAX: Final = 32 * 1024 * 1024

StateFrame: TypeAlias = peer_pb2.StateRequest | peer_pb2.StateResponse

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Taking:
    """A state that is being taken."""

    head: Head
    build: StateBuild
    parts: list[Position] = field(default_factory=list)
    lies: int = 0

    @property
    def height(self) -> int:
        """Of the head, at least 1."""
        return self.head.header.height


@dataclass(frozen=True, slots=True)
class _Search:
    """Heads are asked for, since this step, by the set that was in force here then: blocks that
    come meanwhile make no path forgotten, however many epochs they lead on.
    """

    since: int
    known: ReplicaSet


def state_interval(snapshot_interval: int) -> int:
    """The heights whose state is given are multiples of this."""
    return min(snapshot_interval, STATE_INTERVAL_MAX)


class StateTransfer:
    """Gives the state to peers, always; takes it from them while `step` is called."""

    def __init__(
        self,
        *,
        driver: Driver,
        ledger: Ledger,
        links: Links,
        metrics: ReplicaMetrics,
        verify: Verify,
        without_blocks_steps: int = WITHOUT_BLOCKS_STEPS,
    ) -> None:
        self.part_bytes_max = PART_BYTES_MAX
        self._driver = driver
        self._ledger = ledger
        self._links = links
        self._metrics = metrics
        self._paths = SetPaths(verify)
        self._interval = state_interval(ledger.genesis.parameters.snapshot_interval)
        self._pace = BlockPace(without_blocks_steps, ledger.genesis.parameters.window)
        self._requests: Answering[peer_pb2.StateRequest] = Answering(
            lambda request: (request.height, request.prefix, request.from_epoch)
        )
        self._responses: FairQueue[peer_pb2.StateResponse] = FairQueue(
            count_max=RESPONSES_MAX, bytes_max=PEER_BYTES_MAX
        )
        self._search: _Search | None = None
        self._heads: dict[int, Head] = {}
        self._taking: _Taking | None = None
        self._adopting = 0
        """The height of the state that is to be adopted next; 0: there is none."""
        self._steps = 0

    def on_frame(self, sender: int, frame: StateFrame, size: int) -> None:
        """A peer asks or answers. Must not block."""
        if isinstance(frame, peer_pb2.StateRequest):
            dropped = self._requests.put(sender, frame)
        else:
            dropped = self._responses.put(sender, frame, size)
        self._metrics.refusals.count(sender, Reason.FLOOD, times=dropped)

    async def run(self) -> None:
        """Answer and take answers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answering_loop())
            tasks.create_task(self._taking_loop())

    async def _taking_loop(self) -> None:
        while True:
            for sender, response in await self._responses.take(1):
                await self._take(sender, response)

    # --- Giving ------------------------------------------------------------------------------

    async def _answering_loop(self) -> None:
        while True:
            await self._answer(*await self._requests.take())

    async def _answer(self, sender: int, request: peer_pb2.StateRequest) -> None:
        def answer() -> bytes | None:
            response = self._response(request)
            return None if response is None else wire.state_response_frame(response)

        try:
            frame = await self._ledger.read(self._requests.metered(sender, answer))
        except UnavailableError:
            return
        if frame is not None:
            self._requests.note_sent(sender, len(frame))
            self._links.send(sender, frame, droppable=True)

    def _response(self, request: peer_pb2.StateRequest) -> peer_pb2.StateResponse | None:
        if request.height == 0:
            return self._head_response(request.from_epoch)
        with self._ledger.store.state_reader() as state:
            prefix = read_prefix(request.prefix)
            part = state.part(request.height, prefix, self.part_bytes_max)
        encoded = b"" if part is None else part.encode()
        return peer_pb2.StateResponse(height=request.height, prefix=request.prefix, part=encoded)

    def _head_response(self, from_epoch: int) -> peer_pb2.StateResponse | None:
        certified = self._ledger.store.last_certified
        height = certified - certified % self._interval
        header = self._ledger.certified_header_message(height) if height else None
        if header is None:
            return None
        epoch = self._ledger.header(height).epoch
        changes = [
            change.encode()
            for change in self._ledger.set_changes(from_epoch)
            if change.replica_set.epoch <= epoch
        ]
        return peer_pb2.StateResponse(height=height, certified_header=header, set_changes=changes)

    # --- Taking ------------------------------------------------------------------------------

    def step(self, *, wanted: bool, there: int | None) -> None:
        """Called again and again while the replica restores; `wanted`: peers are ahead, and
        `there` is the height that one honest replica at least has said (`said_by_one_honest`).
        """
        self._steps += 1
        store = self._ledger.store
        if store.last_height >= self._adopting:
            self._adopting = 0
        is_overtaken = self._taking is not None and self._taking.height <= store.last_height
        if not wanted or is_overtaken:
            self._stop_search()
            self._pace.begin_anew()
        if not wanted or self._adopting:
            return
        pace = self._pace.step(store.last_certified, there)
        if pace is Pace.SLOW and self._search is None:
            known = self._ledger.set_at(store.last_certified + 1)
            self._search = _Search(self._steps, known)
        elif pace is Pace.FAIR and self._taking is None:
            self._stop_search()
        if self._taking is not None:
            self._go_on(self._taking)
        elif self._search is not None:
            self._look_for_a_head(self._search)

    def _stop_search(self) -> None:
        self._search, self._heads, self._taking = None, {}, None
        self._paths.forget()

    def _look_for_a_head(self, search: _Search) -> None:
        if (self._steps - search.since) % SILENT_STEPS == 0:
            self._heads = {}
            for peer in sorted(self._links.connected()):
                self._ask_for_head(peer, search.known.epoch)
        last = self._ledger.store.last_height
        ahead = {peer: head for peer, head in self._heads.items() if head.header.height > last}
        offered = Counter(head.header.hash() for head in ahead.values())
        for digest, count in offered.most_common(1):
            head = next(each for each in ahead.values() if each.header.hash() == digest)
            if count > head.replica_set.faulty_max:
                sources = [peer for peer, each in ahead.items() if each.header.hash() == digest]
                _log.warning("state.wanted", height=head.header.height, sources=sources)
                build = StateBuild(head.header.state_root, sources, bytes_max=self.part_bytes_max)
                self._taking = _Taking(head, build)
                self._go_on(self._taking)

    def _ask_for_head(self, peer: int, known_epoch: int) -> None:
        epoch = self._paths.ask_from(peer, known_epoch)
        self._links.send(peer, wire.state_request_frame(0, from_epoch=epoch))

    def _go_on(self, taking: _Taking) -> None:
        taking.build.ask_again(since=self._steps - SILENT_STEPS)
        if taking.build.is_stuck:
            _log.warning("state.no_source", height=taking.height)
            self._stop_search()
            self._pace.begin_anew()
            return
        for source, prefix in taking.build.ask(self._steps):
            frame = wire.state_request_frame(taking.height, prefix=prefix.nibbles)
            self._links.send(source, frame)

    async def _take(self, sender: int, response: peer_pb2.StateResponse) -> None:
        if not self._has_room:
            self._metrics.refusals.count(sender, Reason.UNASKED)
        elif response.HasField("certified_header"):
            await self._take_head(sender, response)
        elif self._taking is not None and response.height == self._taking.height:
            await self._take_part(sender, response, self._taking)
        else:
            self._metrics.refusals.count(sender, Reason.UNASKED)

    @property
    def _has_room(self) -> bool:
        """Whether it restores, and the disk is not full."""
        return self._driver.pause is Pause.RESTORING

    async def _take_head(self, sender: int, response: peer_pb2.StateResponse) -> None:
        search = self._search
        is_late = search is None or self._taking is not None
        if search is None or is_late or response.height <= self._ledger.store.last_height:
            # Blocks may have overtaken it.
            self._metrics.refusals.count(sender, Reason.UNASKED)
            return
        try:
            found = await self._ledger.read(lambda: self._judged(sender, response, search.known))
        except (ProofError, MalformedError) as error:
            self._metrics.refusals.count(sender, Reason.UNPROVEN, str(error))
        except UnaskedError:
            self._metrics.refusals.count(sender, Reason.UNASKED)
        except PathTooLongError as error:
            _log.error("state.too_many_set_changes", epoch=error.epoch, source=sender)
        else:
            if self._search is search:
                self._note(sender, found)

    def _judged(
        self, sender: int, response: peer_pb2.StateResponse, known: ReplicaSet
    ) -> Head | Partway:
        """See `SetPaths.judge`."""
        genesis = self._ledger.genesis
        authorities = genesis.restart_authorities
        trusted = TrustedChain.from_genesis(genesis.hash(), known, authorities)
        return self._paths.judge(sender, response, trusted)

    def _note(self, sender: int, found: Head | Partway) -> None:
        """A head that a peer offers, unless blocks overtook it; else it is asked to go on."""
        if isinstance(found, Partway):
            if found.is_new:
                self._ask_for_head(sender, found.epoch)
        elif found.counts(sender) and found.header.height > self._ledger.store.last_height:
            self._heads[sender] = found

    async def _take_part(
        self, sender: int, response: peer_pb2.StateResponse, taking: _Taking
    ) -> None:
        if sender not in taking.build.sources:
            self._metrics.refusals.count(sender, Reason.UNASKED)
            return
        if entries := self._judge_part(sender, response, taking.build):
            taking.parts.append(await self._ledger.keep_state_part(entries))
        for lie in taking.build.lies[taking.lies :]:
            why = f"part {lie.prefix}: {lie.why}"
            self._metrics.refusals.count(lie.source, Reason.UNPROVEN, why)
        taking.lies = len(taking.build.lies)
        if self._taking is not taking:
            return  # Blocks overtook it.
        if not self._has_room:
            self._stop_search()
            self._pace.begin_anew()
        elif taking.build.finished:
            self._adopt(taking)
        else:
            self._go_on(taking)

    def _judge_part(
        self, sender: int, response: peer_pb2.StateResponse, build: StateBuild
    ) -> tuple[Entry, ...]:
        """The entries of a part; none where it is not here, is too large, or is a lie."""
        if not response.part:
            build.leave(sender)
            return ()
        try:
            return build.take(sender, StatePart.decode(response.part))
        except MalformedError as error:
            build.convict(sender, Prefix(response.prefix), str(error))
            return ()

    def _adopt(self, taking: _Taking) -> None:
        self._stop_search()
        self._pace.begin_anew()
        self._adopting = taking.height
        head, parts = taking.head, tuple(taking.parts)
        snapshot = Snapshot(head.header, head.certificate, head.set_changes, parts)
        self._driver.adopt_state(snapshot)
