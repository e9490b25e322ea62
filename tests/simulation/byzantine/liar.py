"""One lying replica. It holds its own key, runs the real core for a state worth lying about, and
alters what leaves it; what it cannot do is sign for others.

A strategy is a handful of hooks: on what goes out, on what it proposes, on what it answers about
old blocks, and on what it says unasked. Each is played in the rounds that the scenario gives it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.epochs import Core
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Sign, Signer
from tests.simulation.keys import OUTSIDER, Scheme

if TYPE_CHECKING:
    from tests.simulation.scenario import Act

REMEMBERED_MAX: Final = 100
PHASES: Final[dict[type, int]] = {PrePrepare: 0, Prepare: 1, Commit: 2, Checkpoint: 3}
ROUNDS_PER_VIEW: Final = 8
ROUNDS_PER_SEQUENCE: Final = 4
DRIP_MS: Final = 300
"""Less than the time without blocks after which a state is asked for (`WITHOUT_BLOCKS_TURNS`)."""


@dataclass(frozen=True, slots=True)
class Late:
    """Goes out later."""

    delay_ms: int
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes in the place of a frame, which one replica does not get."""

    data: bytes
    keep_from: ReplicaId | None = None


@dataclass(frozen=True, slots=True)
class Framed:
    """A message in a frame of `epoch`, which need not be the present one."""

    message: PeerMessage
    epoch: int


Out = PeerMessage | Late | Raw | Framed


@dataclass(slots=True)
class Liar:
    """Its acts, its key, its generator, and what it remembers."""

    signer: Signer
    scheme: Scheme
    random: Random
    fired: Counter[str]
    acts: tuple[Act, ...]
    timeout_ms: int
    window: int
    victim: ReplicaId = field(init=False)
    remembered: deque[PeerMessage] = field(default_factory=lambda: deque(maxlen=REMEMBERED_MAX))
    heard: deque[PeerMessage] = field(default_factory=lambda: deque(maxlen=REMEMBERED_MAX))
    former: list[Signer] = field(default_factory=list)
    """As which it signed in earlier epochs."""
    recorded: deque[tuple[int, PeerMessage]] = field(default_factory=lambda: deque(maxlen=200))
    """What it heard and said in earlier epochs, by them."""
    epoch: int = 0
    other_chain: Callable[[ReplicaSet, View, int], NewView] | None = None
    """A new-view that the same replicas signed for another chain."""
    is_member: bool = True
    lies: bool = True
    dripped_ms: int = 0
    """When it last gave a block by B30."""

    def __post_init__(self) -> None:
        """Choose whom to hurt."""
        others = [each for each in range(self.size) if each != self.signer.me]
        self.victim = ReplicaId(self.random.choice(others))

    def enter(self, replica_set: ReplicaSet, sign: Sign | None) -> None:
        """Another set may be in force, in which it has this key, or none any more."""
        if replica_set.epoch != self.epoch:
            self.recorded.extend((self.epoch, each) for each in (*self.heard, *self.remembered))
            self.heard.clear()
            self.remembered.clear()
        self.epoch, self.is_member = replica_set.epoch, sign is not None
        if sign is not None and replica_set != self.signer.replica_set:
            self.former.append(self.signer)
            self.signer = replace(self.signer, replica_set=replica_set, sign=sign)

    @property
    def size(self) -> int:
        """n."""
        return self.signer.replica_set.size

    def outgoing(self, to: ReplicaId, message: PeerMessage) -> list[Out]:
        """What really goes to `to` in the place of `message`."""
        outs: list[Out] = [message]
        for name in self._playing(round_of(message)):
            alter = OUTGOING.get(name)
            if alter is not None:
                outs = [out for each in outs for out in self._altered(name, alter, to, each)]
        self.remembered.append(message)
        return outs

    def hear(self, message: PeerMessage, core: Core) -> list[Out]:
        """Take note of what a peer says; what it answers at once to one that lags an epoch."""
        self.heard.append(message)
        outs: list[Out] = []
        if isinstance(message, Hello) and message.epoch < core.epoch:
            for name in self._playing(round_at(core)):
                answer = LATE.get(name)
                outs += [] if answer is None else answer(self, core, message.epoch)
        return outs

    def proposal(self, batch: Batch, core: Core) -> Batch:
        """The batch that it proposes in the place of an honest one."""
        assert isinstance(core, Replica), "only members propose"
        for name in self._playing(round_at(core)):
            choose = PROPOSALS.get(name)
            if choose is not None:
                changed = choose(self, batch, core)
                if changed != batch:
                    self.fired[name] += 1
                batch = changed
        return batch

    def fills(self, core: Core) -> bool:
        """Whether it proposes empty batches without a pause now."""
        if "B23" not in self._playing(round_at(core)):
            return False
        self.fired["B23.empty"] += 1
        return True

    def blocks(self, blocks: list[ledger_pb2.Block]) -> list[ledger_pb2.Block]:
        """The blocks with which it answers one who catches up."""
        if any(act.strategy == "B29" for act in self.acts) and self.lies:
            return []
        if blocks and any(act.strategy == "B22" for act in self.acts) and self.lies:
            self.fired["B22"] += 1
            return SPOIL[0](self, blocks)
        return blocks

    def drips(self, now_ms: int) -> bool:
        """B30: whether it is time for the next block, just before none would have come for long."""
        plays = self.lies and any(act.strategy == "B30" for act in self.acts)
        return plays and now_ms - self.dripped_ms >= DRIP_MS

    def state_frame(self, frame: bytes) -> bytes:
        """The piece of a state with which it answers."""
        if any(act.strategy == "B22" for act in self.acts) and self.lies:
            return SPOIL_STATE[0](self, frame)
        return frame

    def idle(self, core: Core) -> list[Out]:
        """What it sends to everybody without being asked, now and then."""
        outs: list[Out] = []
        for name in self._playing(round_at(core)):
            inside = isinstance(core, Replica)
            invent, ratio = (IDLE.get(name), 0.06) if inside else (OUTSIDE.get(name), 0.3)
            if invent is not None and self.random.random() < ratio:
                invented = invent(self, core)
                self.fired[name] += bool(invented)
                outs += invented
        return outs

    def forgets(self, core: Core) -> bool:
        """Whether it loses its memory now (reliability P14)."""
        if "B5" in self._playing(round_at(core)) and self.random.random() < 0.01:
            self.fired["B5"] += 1
            return True
        return False

    def any_digest(self) -> Digest:
        """Some digest that nothing has."""
        return Digest(self.random.randbytes(32))

    def stranger(self, epoch: int, key: int | None = None) -> Signer:
        """The same replica in another epoch, or with a key that is not in the set (any more)."""
        replica_set = self.signer.replica_set
        moved = type(replica_set)(replica_set.chain_id, epoch, replica_set.members)
        sign = self.signer.sign if key is None else self.scheme.signer(OUTSIDER + key)
        return Signer(self.signer.me, moved, sign)

    def _playing(self, number: int) -> Sequence[str]:
        if not self.lies:
            return ()
        return [act.strategy for act in self.acts if act.plays(number)]

    def _altered(self, name: str, alter: Alter, to: ReplicaId, out: Out) -> list[Out]:
        if isinstance(out, Late | Raw | Framed):
            return [out]
        altered = alter(self, to, out)
        if altered is None:
            return [out]
        self.fired[name] += 1
        return altered


Alter = Callable[[Liar, ReplicaId, PeerMessage], list[Out] | None]
"""What goes out in the place of a message; None leaves it alone."""

Choose = Callable[[Liar, Batch, Replica], Batch]
Invent = Callable[[Liar, Any], list[Out]]
"""What it says unasked, with its core: a `Replica`, or in `OUTSIDE` a `Learner`."""
Meet = Callable[[Liar, Core, int], list[Out]]
"""What it says to one that is in an earlier epoch, whose number that is."""
Spoil = Callable[[Liar, list[ledger_pb2.Block]], list[ledger_pb2.Block]]

OUTGOING: Final[dict[str, Alter]] = {}
PROPOSALS: Final[dict[str, Choose]] = {}
IDLE: Final[dict[str, Invent]] = {}
OUTSIDE: Final[dict[str, Invent]] = {}
"""The same of one that is no member (any more)."""
LATE: Final[dict[str, Meet]] = {}
SPOIL: Final[list[Spoil]] = []
SPOIL_STATE: Final[list[Callable[[Liar, bytes], bytes]]] = []


def round_of(message: PeerMessage) -> int:
    """A number for the protocol's round that a message belongs to (ByzzFuzz)."""
    match message:
        case PrePrepare() | Prepare() | Commit():
            start = ROUNDS_PER_VIEW * message.view + ROUNDS_PER_SEQUENCE * message.sequence
            return start + PHASES[type(message)]
        case Checkpoint():
            return ROUNDS_PER_SEQUENCE * message.sequence + 3
        case ViewChange() | NewView() | Hello():
            return ROUNDS_PER_VIEW * message.view


def round_at(core: Core) -> int:
    """The same for a replica's present place."""
    return ROUNDS_PER_VIEW * core.view + ROUNDS_PER_SEQUENCE * (core.low_watermark + 1)
