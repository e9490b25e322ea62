"""A signature is verified once: what the mempool admitted is not judged again in a batch."""

from __future__ import annotations

from collections.abc import Sequence

from guqiao_sdk.gm.provider import open_provider
from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.signing import Admission
from tests.plugins.flipping import flipped
from tests.unit.node.test_mempool import mempool, transaction


class CountingProvider:
    """The real provider, with a count of the signatures it judged."""

    def __init__(self) -> None:
        self._provider = open_provider()
        self.judged = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        self.judged += len(items)
        return self._provider.verify_many(items)


def judge(
    known: list[AdmittedTransaction | None], *, now_height: int = 1, block_time_ms: int = 1
) -> tuple[list[AdmittedTransaction | Refused], int]:
    """The verdicts on a batch of two transactions, and how many signatures were judged for them."""
    provider = CountingProvider()
    admission = Admission("shandong", provider)  # type: ignore[arg-type]  # it forwards the rest
    batch = [transaction("a").encoded, transaction("b").encoded]
    verdicts = admission.judge_batch(
        batch, known, now_height=now_height, block_time_ms=block_time_ms
    )
    return verdicts, provider.judged


def test_what_was_admitted_in_the_same_bytes_is_not_verified_again() -> None:
    verdicts, judged = judge([transaction("a"), transaction("b")])
    assert verdicts == [transaction("a"), transaction("b")]
    assert judged == 0


def test_row31_what_is_not_known_is_judged_whole_in_its_place() -> None:
    verdicts, judged = judge([transaction("a"), None])
    assert judged == 1
    assert verdicts[0] == transaction("a")
    assert isinstance(verdicts[1], Refused)  # Its signature is zeros.


def test_the_expiry_is_asked_again_of_what_is_known() -> None:
    verdicts, judged = judge([transaction("a"), transaction("b")], now_height=500)
    assert judged == 0
    codes = [verdict.code for verdict in verdicts if isinstance(verdict, Refused)]
    assert codes == ["TRANSACTION_EXPIRED", "TRANSACTION_EXPIRED"]


def test_the_mempool_knows_a_transaction_by_exactly_its_bytes_while_it_is_there() -> None:
    pool, entry = mempool(), transaction("a")
    pool.add(entry, now_ms=0)
    assert pool.find_encoded(entry.encoded) is entry
    assert pool.find_encoded(flipped(entry.encoded)) is None
    pool.remove([entry.id])
    assert pool.find_encoded(entry.encoded) is None
