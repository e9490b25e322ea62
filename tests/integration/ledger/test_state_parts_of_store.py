"""What a store gives of its state: that of any height that is still provable, while it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from guqiao_sdk.proof.state_proof import key_hash
from services.consensus.domain.ledger.state_parts import Prefix, StateBuild
from services.consensus.store import ChainStore
from services.consensus.store import index as index_module
from tests.integration.ledger.store_builder import grow, open_store


def state_of(store: ChainStore) -> dict[bytes, bytes]:
    with store.state_reader() as state:
        return dict(state.scan(b""))


def given(store: ChainStore, height: int) -> dict[bytes, bytes]:
    """The state of a height, taken from the store in parts and judged."""
    header = store.get_header(height)
    assert header is not None
    build, taken = StateBuild(header.state_root, [0]), dict[bytes, bytes]()
    with store.state_reader() as state:
        while asked := build.ask():
            for source, prefix in asked:
                part = state.part(height, prefix)
                assert part is not None
                taken.update(build.take(source, part))
    assert build.finished
    return taken


@pytest.mark.req("G2-07-3")
def test_the_state_of_every_kept_height_is_given_with_what_was_deleted_since(
    tmp_path: Path,
) -> None:
    store, states = open_store(tmp_path), dict[int, dict[bytes, bytes]]()
    for height in range(1, 13):
        grow(store, height)
        states[height] = state_of(store)
    assert any(set(states[height]) - set(states[12]) for height in states), "keys were deleted"
    for height, expected in states.items():
        assert given(store, height) == expected
    store.close()


@pytest.mark.req("G2-07-3")
def test_a_pruned_height_is_not_given_and_its_keys_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "PROVABLE_HEIGHTS", 4)
    store = open_store(tmp_path)
    for height in range(1, 21):
        grow(store, height)
        if height > 4:
            assert given(store, height - 3)
    with store.state_reader() as state:
        assert state.part(16, Prefix(b"")) is None
        assert state.part(17, Prefix(b"")) is not None
    kept = {key_hash(key) for height in range(17, 21) for key in given(store, height)}
    with store._index.begin() as transaction:
        places = {place for place, _ in store._index._tables.scan(transaction, "keys")}
    assert places == kept
    store.close()
