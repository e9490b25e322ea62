"""The state as execution sees it: a reader below, layers of uncommitted writes above.

A block writes into one layer over the committed state and each transaction into one layer over the
block's, so that dropping a refused transaction is dropping its layer.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

KEY_BYTES_MAX: Final = 500
"""A state key is also a key of the index, whose keys have at most 511 bytes."""


class StateReader(Protocol):
    """The state after the last executed block."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries whose key begins with `prefix`, by bytes of the key."""
        ...

    def executed(self, transaction_id: bytes) -> bool:
        """Return whether an id stands under `keys.executed` of a height that the state holds."""
        ...


class Readable(Protocol):
    """What a layer needs of what lies below it."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries whose key begins with `prefix`, by bytes of the key."""
        ...


class Layer:
    """Writes that are not yet part of what lies below; reads see them first."""

    __slots__ = ("_base", "_keys", "_writes")

    def __init__(self, base: Readable) -> None:
        self._base = base
        self._writes: dict[bytes, bytes | None] = {}
        self._keys: list[bytes] = []

    @property
    def writes(self) -> Mapping[bytes, bytes | None]:
        """The writes; None deletes."""
        return self._writes

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, own writes first, or None."""
        if key in self._writes:
            return self._writes[key]
        return self._base.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write `value`, or delete with None."""
        if key not in self._writes:
            insort(self._keys, key)
        self._writes[key] = value

    def absorb(self, above: Layer) -> None:
        """Take over the writes of the layer above."""
        for key, value in above._writes.items():
            self.put(key, value)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries under `prefix`, by bytes of the key, own writes seen."""
        own = self._own(prefix)
        following = next(own, None)
        for key, value in self._base.scan(prefix):
            while following is not None and following < key:
                yield from self._present(following)
                following = next(own, None)
            if following == key:
                yield from self._present(key)
                following = next(own, None)
            else:
                yield key, value
        while following is not None:
            yield from self._present(following)
            following = next(own, None)

    def written_under(self, prefix: bytes) -> int:
        """How many keys under `prefix` this layer and the layers below it write or delete: what a
        scan passes over beside the entries that it yields.
        """
        below = self._base.written_under(prefix) if isinstance(self._base, Layer) else 0
        start, end = self._range(prefix)
        return end - start + below

    def net_writes(self) -> dict[bytes, bytes | None]:
        """Return the writes that change something below, by bytes of the key."""
        base = self._base
        return {key: self._writes[key] for key in self._keys if base.get(key) != self._writes[key]}

    def _own(self, prefix: bytes) -> Iterator[bytes]:
        # A copy: the caller may write while it scans, and sees the keys as they were.
        start, end = self._range(prefix)
        yield from self._keys[start:end]

    def _range(self, prefix: bytes) -> tuple[int, int]:
        """Where the own keys under a prefix stand; keys are UTF-8, which has no byte 0xff."""
        return bisect_left(self._keys, prefix), bisect_left(self._keys, prefix + b"\xff")

    def _present(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        value = self._writes[key]
        if value is not None:
            yield key, value
