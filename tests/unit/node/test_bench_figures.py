"""The arithmetic of the bench over plain data: what is counted, and what is told of a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from bench import phases
from bench.load import FinalTransaction, Load, Stream, Tally
from bench.machine import VerifyRate
from bench.phases import Interval, Meter, SeenBlock, pace, recovery, throughput
from bench.report import HOLD
from bench.signing import Signed
from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.receipt import Outcome

KILLED_MS = 1_000_000


def a_meter() -> Meter:
    meter = Meter(cast("Any", None), 10.0)
    meter.begun, meter.ended, meter.interval = 0.0, 10.0, Interval(10.0, 8.0, 0.1)
    return meter


def a_load(*ids: bytes) -> Load:
    load = Load("chain", [], cast("Identity", None), cast("GmProvider", None), [])
    load.first_sent = dict.fromkeys(ids, 0.0)
    load.last_sent = dict.fromkeys(ids, 0.0)
    return load


def result_of(outcome: Outcome, code: str = "") -> node.TransactionAnswer:
    result = ledger_pb2.TransactionResult(outcome=int(outcome), code=code, height=7)  # type: ignore[arg-type]
    return node.TransactionAnswer(result=result)


def error_of(code: str, retry_seconds: int | None) -> node.TransactionAnswer:
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=code, domain="guqiao"))
    if retry_seconds is not None:
        delay = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_seconds))
        status.details.add().Pack(delay)
    return node.TransactionAnswer(error=status.SerializeToString())


async def test_only_what_was_applied_counts_as_final() -> None:
    load = a_load(b"a", b"b", b"c")
    load.take(Signed(b"a", b""), result_of(Outcome.APPLIED))
    load.take(Signed(b"b", b""), result_of(Outcome.REFUSED, "PREDECESSOR_MISSING"))
    load.take(Signed(b"c", b""), result_of(Outcome.REPLAYED))
    assert [each.height for each in load.tally.finals] == [7]
    assert load.tally.not_applied == {"PREDECESSOR_MISSING": 1, "REPLAYED": 1}


async def test_what_was_refused_before_is_admitted_with_its_last_sending() -> None:
    class Call:
        async def write(self, _data: bytes) -> None: ...

    load, item = a_load(), Signed(b"a", b"")
    stream = Stream(load, 0, Call())
    await stream.send([item])
    load.take(item, error_of("QUEUE_FULL", retry_seconds=60))
    load.first_sent[item.id] -= 60.0
    await stream.send([item])
    load.take(item, result_of(Outcome.APPLIED))
    (final,) = load.tally.finals
    assert final.admitted >= final.sent + 60.0
    assert load.first_sent == load.last_sent == {}


async def test_a_refusal_without_a_time_is_told_apart_from_one_that_comes_again() -> None:
    load = a_load()
    load.take(Signed(b"a", b""), error_of("QUEUE_FULL", retry_seconds=60))
    load.take(Signed(b"b", b""), error_of("QUEUE_FULL", retry_seconds=None))
    assert load.tally.refusals == {"QUEUE_FULL": 1, "QUEUE_FULL, not retried": 1}


def test_what_was_not_applied_stands_beside_the_throughput() -> None:
    finals = [FinalTransaction(b"", 0.0, 0.0, float(number % 10), 1) for number in range(100)]
    tally = Tally(finals, not_applied=Counter({"PREDECESSOR_MISSING": 50}))
    figures = throughput(finals, a_meter(), tally)
    assert figures["tps"] == 10.0
    assert figures["not_applied"] == {"PREDECESSOR_MISSING": 50}


def test_without_a_final_transaction_nothing_has_a_cost() -> None:
    rates = (VerifyRate(6_000, 330.0), VerifyRate(6_000, 330.0))
    figures = phases.limits([], a_meter(), rates, 4)
    assert (figures["cpu_us_per_tx"], figures["ratio_by_cpu"]) == (None, None)


def seen(*answered: float, old: tuple[float, ...] = ()) -> list[SeenBlock]:
    """Blocks by when their answer came, the kill at 0; `old` ones came after it and were proposed
    before it.
    """
    blocks = [SeenBlock(at, KILLED_MS + (1 if at > 0 else 0)) for at in answered]
    return blocks + [SeenBlock(at, KILLED_MS) for at in old]


@pytest.mark.parametrize(
    ("blocks", "recovered", "gap"),
    [
        pytest.param(seen(-2, -0.5, 2.9, 3.4), 2.9, 3.4, id="usual"),
        pytest.param(seen(-2, -1.1, 2.9, 3.2, 4.1), 2.9, 4.0, id="last block long before"),
        pytest.param(seen(-0.3, 1.5, 1.8, 2.1, 9.0), 1.5, 1.8, id="a later gap is longer"),
        pytest.param(seen(-0.3, 1.4, 2, old=(0.1, 0.2)), 1.4, 1.7, id="blocks under way come"),
    ],
)
def test_recovery_is_the_gap_that_contains_the_kill(
    blocks: list[SeenBlock], recovered: float, gap: float
) -> None:
    figures = recovery(blocks, 0.0, KILLED_MS)
    assert figures["primary_kill_recovery_s"] == pytest.approx(recovered)
    assert figures["gap_with_kill_s"] == pytest.approx(gap)


def test_a_longer_gap_elsewhere_is_told_too() -> None:
    assert recovery(seen(-0.3, 1.5, 9.0), 0.0, KILLED_MS)["longest_gap_s"] == 7.5


@pytest.mark.parametrize("blocks", [seen(-1, -0.5), seen(1, 2), seen(-1, old=(0.1,))])
def test_a_gap_without_both_ends_is_no_figure(blocks: list[SeenBlock]) -> None:
    with pytest.raises(RuntimeError, match="no block"):
        recovery(blocks, 0.0, KILLED_MS)


class KillChain:
    """A chain whose primary changes while load runs."""

    def __init__(self) -> None:
        self.primaries = [1, 2]
        self.killed: list[int] = []
        self.keys, self.pool, self.client = 10, None, self
        replicas = [SimpleNamespace(number=number) for number in range(4)]
        self.network = SimpleNamespace(replicas=replicas, kill=self.killed.append)
        self.left = 1
        self.tally = Tally()

    async def primary(self) -> int:
        return self.primaries.pop(0)

    async def sign(self, _calls: object) -> list[Signed]:
        return []

    def load(self, _items: object, _replicas: object) -> KillChain:
        return self

    async def closed_loop(
        self, _window: int, _seconds: float, during: Callable[[], Awaitable[None]]
    ) -> Tally:
        before = FinalTransaction(b"", 0.0, 0.0, 0.0, 1)
        await during()
        self.tally.finals = [before, FinalTransaction(b"", 0.0, 0.0, float("inf"), 2)]
        return self.tally

    async def get_header(self, height: int) -> tuple[Any, None]:
        return SimpleNamespace(block_time_ms=0 if height == 1 else 1 << 60), None


async def test_who_is_primary_is_asked_right_before_the_kill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phases, "KILL_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(phases, "KILL_WATCH_SECONDS", 0.0)

    async def rate(_chain: object) -> VerifyRate:
        return VerifyRate(1.0, 1.0)

    monkeypatch.setattr(phases, "_verify_rate", rate)
    chain = KillChain()
    figures = await phases.kill_primary(cast("Any", chain))
    assert chain.killed == [2]
    assert figures["killed_replica"] == 2


def test_catching_up_is_told_in_blocks_and_in_transactions() -> None:
    figures = pace([(0.0, 20), (2.0, 90), (5.0, 120)], transactions=9_000)
    assert figures["blocks"] == 100
    assert figures["catch_up_blocks_per_s"] == 20.0
    assert figures["catch_up_transactions_per_s"] == 1_800.0


def test_catching_up_at_one_look_has_no_rate() -> None:
    figures = pace([(3.0, 120)], transactions=0)
    assert figures["catch_up_blocks_per_s"] is None
    assert figures["catch_up_transactions_per_s"] is None


def test_enough_is_signed_to_show_the_best_that_the_design_hopes_for() -> None:
    hold = HOLD["batch_ops_per_s"]
    assert hold is not None
    assert hold.stretch is not None
    assert hold.stretch < phases.BATCH_OPS_MAX
