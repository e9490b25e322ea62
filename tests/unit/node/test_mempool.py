"""The mempool keeps order, keeps its bounds, and offers every transaction exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.transaction import Payload, SignedTransaction
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.mempool import Addition, Mempool


def transaction(name: str, after: bytes | None = None, **changes: int) -> AdmittedTransaction:
    payload = Payload(
        chain="shandong",
        maker=("did:rem:shandong:a", "k1"),
        checker=None,
        organisation="did:rem:shandong:a",
        request_id="00000000-0000-4000-8000-000000000000",
        expires_height=changes.get("expires_height", 500),
        expires_time_ms=changes.get("expires_time_ms", 10_000),
        after=after,
        contract="identity",
        method="add_key",
        business_time=None,
        body={"name": name},
    )
    signed = SignedTransaction(payload.to_bytes(), ((bytes(65), bytes(64)),))
    return AdmittedTransaction(signed.id(), payload, signed, signed.encode())


def mempool(executed: set[bytes] | None = None, **bounds: int) -> Mempool:
    known = executed if executed is not None else set()
    return Mempool(lambda transaction_id: transaction_id in known, **bounds)


def take_all(pool: Mempool, count_max: int = 100) -> list[bytes]:
    return [entry.id for entry in pool.take(count_max, 10**9, lambda _: True)]


def test_transactions_are_offered_in_the_order_of_their_arrival() -> None:
    pool = mempool()
    entries = [transaction(str(number)) for number in range(5)]
    for entry in entries:
        assert pool.add(entry, now_ms=0) is Addition.READY
    assert take_all(pool) == [entry.id for entry in entries]
    assert take_all(pool) == []


def test_the_same_transaction_is_held_once() -> None:
    pool = mempool()
    entry = transaction("a")
    assert pool.add(entry, now_ms=0) is Addition.READY
    assert pool.add(entry, now_ms=0) is Addition.KNOWN
    take_all(pool)
    assert pool.add(entry, now_ms=0) is Addition.KNOWN


def test_a_full_mempool_takes_nothing_more_until_something_leaves() -> None:
    pool = mempool(count_max=2)
    first, second, third = (transaction(name) for name in "abc")
    pool.add(first, now_ms=0)
    pool.add(second, now_ms=0)
    assert pool.add(third, now_ms=0) is Addition.FULL
    pool.remove([first.id])
    assert pool.add(third, now_ms=0) is Addition.READY


def test_the_bound_in_bytes_holds_too() -> None:
    entry = transaction("a")
    pool = mempool(bytes_max=len(entry.encoded))
    assert pool.add(entry, now_ms=0) is Addition.READY
    assert pool.add(transaction("b"), now_ms=0) is Addition.FULL


def test_a_successor_waits_for_a_predecessor_that_is_not_known() -> None:
    pool = mempool(predecessor_wait_ms=1_000)
    first = transaction("first")
    second = transaction("second", after=first.id)
    assert pool.add(second, now_ms=0) is Addition.WAITING
    assert take_all(pool) == []
    pool.add(first, now_ms=1)
    assert take_all(pool) == [first.id, second.id]


def test_a_successor_of_an_executed_predecessor_is_ready() -> None:
    first = transaction("first")
    pool = mempool({first.id})
    assert pool.add(transaction("second", after=first.id), now_ms=0) is Addition.READY


def test_a_successor_is_offered_when_its_predecessor_is_executed_elsewhere() -> None:
    pool = mempool()
    first = transaction("first")
    second = transaction("second", after=first.id)
    pool.add(second, now_ms=0)
    assert pool.remove([first.id]) == []
    assert take_all(pool) == [second.id]


def test_waiting_ends_after_a_bounded_time() -> None:
    pool = mempool(predecessor_wait_ms=1_000)
    orphan = transaction("orphan", after=bytes(32))
    pool.add(orphan, now_ms=0)
    assert pool.stop_waiting(999) == []
    assert pool.stop_waiting(1_000) == [orphan.id]
    assert take_all(pool) == [orphan.id]


def test_row25_what_a_view_change_drops_comes_back_at_its_old_place() -> None:
    pool = mempool()
    entries = [transaction(str(number)) for number in range(6)]
    for entry in entries:
        pool.add(entry, now_ms=0)
    dropped, carried = take_all(pool, 2), take_all(pool, 2)
    pool.return_proposed(keep=carried)
    assert take_all(pool) == dropped + [entry.id for entry in entries[4:]]


def test_another_primarys_batch_keeps_its_transactions_from_being_offered() -> None:
    pool = mempool()
    first = transaction("first")
    second = transaction("second", after=first.id)
    pool.add(first, now_ms=0)
    pool.add(second, now_ms=0)
    pool.mark_proposed([first.id])
    assert take_all(pool) == [second.id]


def test_a_batch_keeps_to_its_bounds_and_leaves_what_does_not_fit() -> None:
    pool = mempool()
    entries = [transaction(str(number)) for number in range(4)]
    for entry in entries:
        pool.add(entry, now_ms=0)
    size = len(entries[0].encoded) + 4
    taken = pool.take(100, 2 * size, lambda entry: entry.id != entries[0].id)
    assert [entry.id for entry in taken] == [entries[1].id, entries[2].id]
    assert take_all(pool) == [entries[0].id, entries[3].id]


def test_expired_transactions_are_dropped_and_free_their_room() -> None:
    pool = mempool(count_max=2)
    early = transaction("early", expires_height=10)
    late = transaction("late", expires_time_ms=99)
    pool.add(early, now_ms=0)
    pool.add(late, now_ms=0)
    assert pool.drop_expired(height=9, block_time_ms=99) == []
    assert sorted(pool.drop_expired(height=10, block_time_ms=100)) == sorted([early.id, late.id])
    assert len(pool) == 0
    assert pool.room(1)


@pytest.mark.req("G2-07-1")
@given(
    order=st.permutations(range(8)),
    sizes=st.lists(st.integers(1, 4), min_size=8, max_size=8),
    dropped=st.sets(st.integers(0, 7)),
)
def test_a_chain_of_successors_is_never_offered_out_of_order(
    order: list[int], sizes: list[int], dropped: set[int]
) -> None:
    """Whatever the order of arrival, the batch sizes and the batches that a view change drops."""
    chain: list[AdmittedTransaction] = []
    for number in range(8):
        chain.append(transaction(str(number), after=chain[-1].id if chain else None))
    pool = mempool()
    for number in order:
        pool.add(chain[number], now_ms=0)
    for turn, size in enumerate(sizes):
        batch = take_all(pool, size)
        if turn in dropped:
            pool.return_proposed()
        else:
            assert batch == [entry.id for entry in chain][: len(batch)]
            pool.remove(batch)
            chain = chain[len(batch) :]
    assert take_all(pool) == [entry.id for entry in chain]
