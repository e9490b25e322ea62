"""Bringing back what is damaged in a replica's storage, from its own segments and from its peers.

Before the replica takes part (`Pause.RESTORING`): certified blocks that are missing come back, and
where votes were lost the chain passes everything that they may have been for. While it takes part:
its stored records are read again, slowly, and damaged blocks are fetched. Each block is judged by
its finality certificate and by the chain of hashes; docs/protocol/ledger.md has the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus import wire
from services.consensus.block_pace import BlockPace, Pace, said_by_one_honest
from services.consensus.domain.messages import Hello, ReplicaId, SequenceNumber, View
from services.consensus.driver import Driver
from services.consensus.jobs import Pause
from services.consensus.ledger import HeaderMismatchError, Ledger
from services.consensus.metrics import ReplicaMetrics
from services.consensus.peers import Links
from services.consensus.refusals import Reason
from services.consensus.state_transfer import (
    WITHOUT_BLOCKS_STEPS,
    StateTransfer,
)
from services.consensus.store import ChainStore

STEP_SECONDS: Final = 0.1
ASK_AGAIN_STEPS: Final = 5
ASKED_AT_ONCE_MAX: Final = 64
STRANDED_FACTOR: Final = 3
"""Half a minute far behind, and blocks come too slowly: a replica that votes stops to restore."""
SCRUBBED_A_STEP: Final = 5
SCRUB_REST_STEPS: Final = 36_000
"""An hour between two rounds over all records."""

_log = structlog.get_logger(__name__)


def due_height(store: ChainStore, silent_to: int | None, *, restarted: int = 0) -> int | None:
    """Up to where the chain must be here before the replica votes; None: not known yet.

    `silent_to` is what `Silence` says; it counts for an empty folder only. `restarted` is the epoch
    in force, where a restart began it: what was signed in an earlier one is of no use any more.
    """
    promise, restore_to = store.promise, store.restore_to
    if not promise.forgotten:
        return restore_to
    if promise.sequence is not None and promise.epoch < restarted:
        return restore_to
    through = silent_to if promise.sequence is None else promise.sequence
    return None if through is None else max(restore_to, through)


def beyond_what_anybody_says(
    present: ReplicaSet, window: int, heights: Mapping[ReplicaId, int], *, base: int = 0
) -> int | None:
    """A folder without any memory: wait for what f + 1 others have certified, so at least one
    honest one, and two windows more. A chain younger than that is still being founded, and so is
    one that was restarted behind `base`. None: too few have said where they stand.

    Of 2f + 1 others, f liars move the (f + 1)-th height neither above all honest ones nor below.
    Fewer are believed where all say the same: without this replica they have no quorum, so honest
    ones stand still at one height.
    """
    falling = sorted(
        (
            height
            for peer, height in heights.items()
            if peer < present.size and peer not in present.jailed
        ),
        reverse=True,
    )
    faulty_max, margin = present.faulty_max, 2 * window
    if len(falling) <= faulty_max:
        return None
    if len(falling) <= 2 * faulty_max and len(set(falling)) > 1:
        return None
    known = falling[faulty_max]
    return known if known <= base + margin else known + margin


def certified_by_nobody_from(
    present: ReplicaSet, window: int, heights: Mapping[ReplicaId, int]
) -> int | None:
    """The least height that no quorum of `present` has certified yet, by what its members say of
    themselves; None where too few have said it.

    Whoever signs a header has certified all but a window below it (N10). Of the members without a
    vote in a certificate, n - q, and of f liars, one less than the rank asked for here can say
    less than that.
    """
    rising = sorted(
        height
        for peer, height in heights.items()
        if peer < present.size and peer not in present.jailed
    )
    rank = present.size - present.quorum + present.faulty_max + 1
    return rising[rank - 1] + window + 1 if len(rising) >= rank else None


class Silence:
    """Up to where a replica without any memory says nothing. It is asked anew when another set is
    in force here: the others of an old one may be gone.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._epoch = -1
        self._through: int | None = None
        self._uncertified: int | None = None
        """In `_epoch`, nothing was certified from here on when this replica was silent already."""

    def through(
        self,
        present: ReplicaSet,
        heights: Mapping[ReplicaId, int],
        *,
        base: int = 0,
        restarted: bool = False,
    ) -> int | None:
        """The least that `beyond_what_anybody_says` said in the epoch of `present`: the chain moves
        on, and honest replicas never say less than before, so what is lower is as safe, and what
        was higher may have been said by ones that the chain left behind.

        `base` is the height that the epoch began above, by a restart or by a set change. Where it
        is certain that a set change had not begun the epoch when this silence had, nothing was
        signed in the epoch, and the base is enough.
        """
        if present.epoch != self._epoch:
            follows = present.epoch == self._epoch + 1 and not restarted
            unborn = follows and self._uncertified is not None and self._uncertified <= base
            self._epoch, self._through = present.epoch, base if unborn else None
            self._uncertified = None
        founded = base if restarted else 0
        found = beyond_what_anybody_says(present, self._window, heights, base=founded)
        self._through = _lower(self._through, found)
        uncertified = certified_by_nobody_from(present, self._window, heights)
        self._uncertified = _lower(self._uncertified, uncertified)
        return self._through


def _lower(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


def missing_blocks(store: ChainStore, due: int) -> tuple[int, int]:
    """The heights, first and last, to ask the peers for now; `due` is the first of them."""
    first, last = due, due + ASKED_AT_ONCE_MAX - 1
    found = store.next_found_height
    if found is not None and found > first:
        last = min(last, found - 1)
    return first, last


class Repairs:
    """See the module. `run` lasts until it is cancelled."""

    def __init__(
        self,
        *,
        driver: Driver,
        ledger: Ledger,
        links: Links,
        metrics: ReplicaMetrics,
        verify: Verify,
        step_seconds: float = STEP_SECONDS,
        without_blocks_steps: int = WITHOUT_BLOCKS_STEPS,
    ) -> None:
        self.state = StateTransfer(
            driver=driver,
            ledger=ledger,
            links=links,
            metrics=metrics,
            verify=verify,
            without_blocks_steps=without_blocks_steps,
        )
        self._driver = driver
        self._ledger = ledger
        self._links = links
        self._metrics = metrics
        self._verify = verify
        self._step_seconds = step_seconds
        self._turn = self._asked_from = self._unanswered_steps = 0
        self._window = ledger.genesis.parameters.window
        self._pace = BlockPace(STRANDED_FACTOR * without_blocks_steps, self._window)
        self._was_stranded = False
        self._silence = Silence(self._window)
        self.due: int | None = None
        """Where this replica votes again; None: not known yet, or it does not restore."""

    async def run(self) -> None:
        """Restore what is missing, then keep what is stored whole; answer who restores."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.state.run())
            tasks.create_task(self._repair())

    async def _repair(self) -> None:
        if self._driver.restores:
            await self._restore()
        await self._keep_whole()

    # --- Before it takes part ----------------------------------------------------------------

    async def _restore(self) -> None:
        store = self._ledger.store
        self._say_why()
        steps = 0
        while self._driver.restores:
            await self._take_found()
            self.due = due = self._due_height()
            self._metrics.missing_blocks.set(max((due or 0) - store.last_certified, 0))
            present = self._ledger.set_at(store.last_certified + 1)
            there = said_by_one_honest(present, self._driver.peer_heights)
            is_level = not (self._was_stranded and self._is_far(there))
            has_room = self._driver.pause is Pause.RESTORING
            if has_room and due is not None and store.last_certified >= due and is_level:
                await self._resume()
                continue
            if steps % ASK_AGAIN_STEPS == 0:
                self._say_where_it_stands()
            self._ask_for_missing()
            ahead = max(self._driver.peer_heights.values(), default=0)
            self.state.step(wanted=has_room and ahead > store.last_certified, there=there)
            steps += 1
            await asyncio.sleep(self._step_seconds)
        self.due = None

    def _say_why(self) -> None:
        store, promise = self._ledger.store, self._ledger.store.promise
        here, certified = store.last_certified, store.restore_to
        if certified > here:
            code = "STORAGE_RECORD_DAMAGED"
            _log.critical("replica.restoring", code=code, here=here, certified=certified)
        if promise.forgotten and promise.sequence is not None:
            code, through = "STORAGE_VOTES_DAMAGED", promise.sequence
            _log.critical("replica.silent", code=code, view=promise.view, through=through)
        elif promise.forgotten:
            _log.warning("replica.without_memory", here=here)

    async def _take_found(self) -> None:
        try:
            while self._driver.pause is Pause.RESTORING:
                taken = await self._ledger.take_found()
                if taken is None:
                    return
                self._driver.note_restored(*taken)
        except HeaderMismatchError as error:
            self._driver.halt(error.divergence)

    def _due_height(self) -> int | None:
        store = self._ledger.store
        present = self._ledger.set_at(store.last_certified + 1)
        base = self._ledger.epoch_base(present.epoch)
        restarted = self._ledger.restart_base(present.epoch) is not None
        heights = self._driver.peer_heights
        silent_to = self._silence.through(present, heights, base=base, restarted=restarted)
        return due_height(store, silent_to, restarted=present.epoch if restarted else 0)

    async def _resume(self) -> None:
        ledger, forgotten = self._ledger, self._ledger.store.promise.forgotten
        if forgotten:
            await ledger.end_silence()
        if not self._driver.resume():
            return
        self._was_stranded = False
        self._metrics.missing_blocks.set(0)
        _log.info("replica.restored", certified=ledger.store.last_certified, forgotten=forgotten)

    def _say_where_it_stands(self) -> None:
        """The core that says so otherwise is silent; peers that restore, too, wait for it."""
        certified = SequenceNumber(self._ledger.store.last_certified)
        said = wire.message_frame(Hello(View(0), True, False, certified))
        self._links.broadcast(said, latest=True)

    def _ask_for_missing(self) -> None:
        """Ask once for what is not here and was not given yet; again only where it does not come:
        a peer that answers slowly is not made to answer twice.
        """
        due = self._driver.due_block
        if due is None:
            return
        self._unanswered_steps += 1
        if due == self._asked_from and self._unanswered_steps < ASK_AGAIN_STEPS:
            return
        self._asked_from, self._unanswered_steps = due, 0
        first, last = missing_blocks(self._ledger.store, due)
        ahead = sorted(
            peer for peer, height in self._driver.peer_heights.items() if height >= first
        )
        self._ask(ahead, first, last)

    # --- While it takes part -----------------------------------------------------------------

    async def _keep_whole(self) -> None:
        height = rest = steps = 0
        while True:
            if rest > 0:
                rest -= 1
            elif height > self._ledger.store.last_height:
                await self._rewrite_damaged_votes()
                height, rest = 0, SCRUB_REST_STEPS
            else:
                height = await self._scrub(height)
            if steps % ASK_AGAIN_STEPS == 0:
                self._ask_for_damaged()
            if self._is_stranded():
                _log.critical("replica.stranded", here=self._ledger.store.last_certified)
                self._was_stranded = True
                self._driver.stop_to_restore()
                await self._restore()
            steps += 1
            await asyncio.sleep(self._step_seconds)

    def _is_stranded(self) -> bool:
        """Whether the others are far ahead, and for long their blocks came too slowly."""
        present = self._driver.replica.replica_set
        there = said_by_one_honest(present, self._driver.peer_heights)
        if not (self._driver.votes and self._is_far(there)):
            self._pace.begin_anew()
            return False
        return self._pace.step(self._ledger.store.last_certified, there) is Pace.SLOW

    def _is_far(self, there: int | None) -> bool:
        """Whether f + 1 others, so one honest one at least, say that they are beyond our window.

        What the core knows to be certified costs nothing to ask; the store reads its index.
        """
        if there is None or there <= self._driver.replica.low_watermark + self._window:
            return False
        return there > self._ledger.store.last_certified + self._window

    async def _scrub(self, first: int) -> int:
        """Read some blocks again; return where to go on."""
        store = self._ledger.store
        last = min(first + SCRUBBED_A_STEP - 1, store.last_height)

        def damaged() -> list[int]:
            return [height for height in range(first, last + 1) if not store.is_whole(height)]

        for height in await self._ledger.read(damaged):
            if height == 0:
                await self._ledger.repair_genesis()
            else:
                self._ledger.note_damage(height)
        return last + 1

    async def _rewrite_damaged_votes(self) -> None:
        if self._driver.votes and await self._ledger.read(self._ledger.store.votes_damaged):
            _log.critical("votes.damaged", code="STORAGE_VOTES_DAMAGED", lost=False)
            self._driver.compact_soon()

    def _ask_for_damaged(self) -> None:
        damaged = self._ledger.damaged_heights
        self._metrics.damaged_blocks.set(len(damaged))
        if not damaged:
            return
        first = min(damaged)
        last = first
        while last + 1 in damaged and last < first + ASKED_AT_ONCE_MAX - 1:
            last += 1
        self._ask(sorted(self._links.connected()), first, last)

    def _ask(self, peers: Sequence[int], first: int, last: int) -> None:
        """Ask the next peer in turn: one that does not answer holds nothing up."""
        if peers:
            self._turn += 1
            peer = peers[self._turn % len(peers)]
            self._links.send(peer, wire.block_request_frame(first, last))

    # --- Answers -----------------------------------------------------------------------------

    async def take(self, sender: int, response: peer_pb2.BlockResponse) -> None:
        """Use what a peer answered where it is a block that is damaged here."""
        wanted = self._ledger.damaged_heights
        if not wanted:
            return
        blocks, fault = await self._ledger.read(lambda: self._verified(response))
        if fault is not None:
            self._metrics.refusals.count(sender, Reason.UNPROVEN, fault)
        for block in blocks:
            if block.height not in wanted:
                continue
            try:
                await self._ledger.repair(block)
            except HeaderMismatchError as error:
                self._driver.halt(error.divergence)
                return
            self._metrics.repaired_blocks.inc()
            _log.info("block.repaired", height=block.height)

    def _verified(self, response: peer_pb2.BlockResponse) -> tuple[list[VerifiedBlock], str | None]:
        """The damaged blocks up to the first that does not hold, and why that one does not."""
        verified: list[VerifiedBlock] = []
        for message in response.blocks:
            try:
                height = BlockHeader.decode(message.certified_header.header).height
                if height in self._ledger.damaged_heights:
                    block = verify_block(message, self._ledger.set_at(height), self._verify)
                    verified.append(block)
            except (ProofError, MalformedError) as error:
                return verified, str(error)
        return verified, None
