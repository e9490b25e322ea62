"""The state after the last block, as one unchanging picture."""

from __future__ import annotations

from collections.abc import Iterator

from guqiao_sdk.proof.header import BlockHeader
from services.consensus.domain.ledger.state_parts import PART_BYTES_MAX, Prefix, StatePart
from services.consensus.store.index import Index
from services.consensus.store.tables import Transaction


class StateSnapshot:
    """The state after the last block, unchanged while it is open (a `StateReader`).

    Close it soon, by `with` or `close`: while it is open the index cannot reuse space.
    """

    __slots__ = ("_index", "_transaction")

    def __init__(self, index: Index, transaction: Transaction) -> None:
        self._index = index
        self._transaction = transaction

    def __enter__(self) -> StateSnapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the snapshot; nothing can be read from it afterwards."""
        self._transaction.abort()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        return self._index.get(self._transaction, "state", key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries whose key begins with `prefix`, by bytes of the key."""
        return self._index.scan_state(self._transaction, prefix)

    def executed(self, transaction_id: bytes) -> bool:
        """Return whether the id was executed within the expiry span."""
        return self._index.get(self._transaction, "executed", transaction_id) is not None

    def part(
        self, height: int, prefix: Prefix, bytes_max: int = PART_BYTES_MAX
    ) -> StatePart | None:
        """Return what lay under `prefix` after an earlier block, proven against its state root;
        None where that height is no longer provable.
        """
        return self._index.part(self._transaction, height, prefix, bytes_max)

    @property
    def last_header(self) -> BlockHeader:
        """The header of the block that this is the state after."""
        height = self._index.last_height(self._transaction)
        header = None if height is None else self._index.header(self._transaction, height)
        assert header is not None, "genesis is in the index"
        return header

    @property
    def history_from(self) -> int:
        """The height whose state was taken from others; 0 where every block is here."""
        return self._index.adopted_height(self._transaction)
