"""The protocol as conversations: one replica, messages in, effects out, prose between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Equivocation,
    Evidence,
    Execute,
    FetchBatch,
    FetchBlocks,
    Halt,
    Persist,
    Reject,
    Send,
    ViewChanged,
)
from services.consensus.domain.messages import (
    NULL_DIGEST,
    BatchFetched,
    Checkpoint,
    Commit,
    Digest,
    Executed,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Propose,
    Record,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.view_change import chosen_batches
from tests.golden.datadriven import run
from tests.unit.consensus.protocol import (
    START_MS,
    Bench,
    a_batch,
    header_hash,
    prepared_certificate,
    signer,
    view_change,
)

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_replica_answers_as_the_golden_file_says(path: Path) -> None:
    run(path, Conversation().execute)


class Conversation:
    """One replica of four. Batches and headers are called by names: a batch's name is its
    request, a header's name is its hash.
    """

    def __init__(self) -> None:
        self.bench = Bench(1)
        self.names: dict[bytes, str] = {NULL_DIGEST: "null"}
        self.view_changes: dict[int, ViewChange] = {}

    def execute(self, command: str) -> str:
        """Run one line; give its effects, one a line."""
        word, *rest = command.split()
        plain = [each for each in rest if "=" not in each]
        options = dict(each.split("=") for each in rest if "=" in each)
        action: Callable[[list[str], dict[str, str]], list[Effect]]
        action = getattr(self, f"do_{word.replace('-', '_')}")
        return "\n".join(self.show(each) for each in action(plain, options))

    # --- Commands ---------------------------------------------------------------------------

    def do_replica(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        self.bench = Bench(int(plain[0]))
        self.bench.step(Tick(START_MS))
        return []

    def do_restart(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        self.bench.recover()
        return self.bench.step(Tick(self.bench.now_ms))

    def do_tick(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        effects: list[Effect] = []
        for _ in range(int(plain[0]) // 100):
            self.bench.now_ms += 100
            effects += self.bench.step(Tick(self.bench.now_ms))
        return list(dict.fromkeys(effects))

    def do_propose(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        self.digest(plain[0])
        return self.bench.step(Propose(a_batch(plain[0])))

    def do_pre_prepare(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        self.digest(plain[0])
        view = int(options.get("view", 0))
        return self.bench.receive_pre_prepare(int(options["seq"]), a_batch(plain[0]), view)

    def do_prepare(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        sender, sequence, view = self.place(options)
        return self.bench.receive_prepare(sender, sequence, self.digest(plain[0]), view)

    def do_commit(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        sender, sequence, view = self.place(options)
        return self.bench.receive_commit(sender, sequence, self.digest(plain[0]), view)

    def do_executed(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        header = header_hash(plain[0])
        return self.bench.step(Executed(SequenceNumber(int(options["seq"])), header))

    def do_checkpoint(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        header = header_hash(plain[0])
        return self.bench.receive_checkpoint(int(options["from"]), int(options["seq"]), header)

    def do_pending(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        return self.bench.step(RequestPending(plain[0].encode()))

    def do_hello(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        said = Hello(
            View(int(options.get("view", 0))),
            "waiting" not in plain,
            "suspects" in plain,
            SequenceNumber(int(options.get("certified", 0))),
        )
        return self.bench.step(said, int(options["from"]))

    def do_view_change(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        sender = int(options["from"])
        message = self.made_view_change(sender, options)
        return self.bench.step(message, sender)

    def do_new_view(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        """`forged` leaves out what it should propose again."""
        sender, view = int(options["from"]), int(options["view"])
        own = self.made_view_change(sender, options)
        changes = tuple(self.view_changes[each] for each in sorted({*self.view_changes, sender}))
        changes = tuple(each for each in changes if each.view == own.view)
        chosen = () if "forged" in plain else chosen_batches(changes)
        return self.bench.step(signer(sender).new_view(View(view), changes, chosen), sender)

    def do_batch(self, plain: list[str], options: dict[str, str]) -> list[Effect]:
        sequence = SequenceNumber(int(options["seq"]))
        return self.bench.step(BatchFetched(sequence, a_batch(plain[0])))

    # --- Names ------------------------------------------------------------------------------

    def place(self, options: dict[str, str]) -> tuple[int, int, int]:
        return int(options["from"]), int(options["seq"]), int(options.get("view", 0))

    def digest(self, name: str) -> Digest:
        digest = NULL_DIGEST if name == "null" else Digest(a_batch(name).digest())
        self.names[digest] = name
        return digest

    def made_view_change(self, sender: int, options: dict[str, str]) -> ViewChange:
        """`prepared=0/2/pay` says: in view 0, at sequence number 2, the batch `pay`."""
        prepared: tuple[PreparedCertificate, ...] = ()
        if "prepared" in options:
            view, sequence, name = options["prepared"].split("/")
            prepared = (prepared_certificate(int(view), int(sequence), self.digest(name)),)
        message = view_change(sender, int(options["view"]), prepared=prepared)
        self.view_changes[sender] = message
        return message

    def name(self, digest: bytes) -> str:
        readable = digest.isascii() and digest.decode().isprintable()
        return self.names.get(
            digest, digest.decode().rstrip(".") if readable else digest.hex()[:16]
        )

    # --- Effects ----------------------------------------------------------------------------

    def show(self, effect: Effect) -> str:
        match effect:
            case Persist(record):
                return f"persist {self.say(record)}"
            case Broadcast(message):
                return f"broadcast {self.say(message)}"
            case Send(to, message):
                return f"send {to}: {self.say(message)}"
            case Execute(sequence, batch):
                requests = " ".join(each.decode() for each in batch.transactions)
                return f"execute {sequence} {requests or 'null'}"
            case Certified(sequence, certificate):
                signers = [replica for replica, _ in certificate.signatures]
                return f"certified {sequence} {self.name(certificate.header_hash)} by {signers}"
            case _:
                return self.show_other(effect)

    def show_other(self, effect: Effect) -> str:
        match effect:
            case FetchBatch(sequence, digest, holders):
                return f"fetch-batch {sequence} {self.name(digest)} from {list(holders)}"
            case FetchBlocks(first, last, source):
                return f"fetch-blocks {first}..{last} from {source}"
            case ViewChanged(view, primary):
                return f"view-changed {view}, primary {primary}"
            case Reject(sender, reason):
                return f"reject {sender}: {reason}"
            case Evidence(replica, Equivocation(first, second)):
                one, two = self.name(first.digest), self.name(second.digest)
                return f"evidence against {replica}: {first.vote_type.name} {one} and {two}"
            case Halt(sequence, reason):
                return f"halt {sequence}: {reason}"
            case _:
                assert isinstance(effect, Evidence)
                return f"evidence against {effect.replica}: {type(effect.offence).__name__}"

    def say(self, message: PeerMessage | Record) -> str:
        match message:
            case Hello():
                mood = "suspects" if message.suspects else "content"
                return f"hello view={message.view} {mood} certified={message.certified}"
            case PrePrepare() | Prepare() | Commit() | PreparedCertificate():
                kind = _KINDS[type(message)]
                return f"{kind} {message.view}/{message.sequence} {self.name(message.digest)}"
            case Checkpoint():
                return f"checkpoint {message.sequence} {self.name(message.header_hash)}"
            case ViewChange():
                prepared = " ".join(self.say(each) for each in message.prepared) or "nothing"
                return f"view-change {message.view} certified={message.certified}: {prepared}"
            case NewView():
                proposals = " ".join(
                    f"{each.sequence}={self.name(each.digest)}" for each in message.reproposals
                )
                replicas = [int(each.replica) for each in message.view_changes]
                return f"new-view {message.view} from {replicas}: {proposals or 'nothing'}"


_KINDS = {
    PrePrepare: "pre-prepare",
    Prepare: "prepare",
    Commit: "commit",
    PreparedCertificate: "prepared",
}
