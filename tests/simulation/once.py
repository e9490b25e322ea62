"""What follows from a value that never changes is found once for each object of it.

A replica sends the same message again and again, and each time a checker needs its bytes. The value
is told by its identity: to compare or to hash it would cost as much as what is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from services.consensus import wire
from services.consensus.domain.codec import encode_record
from services.consensus.domain.messages import PeerMessage, Record

VALUES_MAX: Final = 4_096

Value = TypeVar("Value")
Result = TypeVar("Result")


class Once(Generic[Value, Result]):
    """The function `find`, for immutable values; it holds those it was asked about, so that none of
    them can have the identity of one that is gone.
    """

    def __init__(self, find: Callable[[Value], Result]) -> None:
        self._find = find
        self._found: dict[int, tuple[Value, Result]] = {}

    def __call__(self, value: Value) -> Result:
        """What `find` says of it, or said before."""
        found = self._found.get(id(value))
        if found is None:
            if len(self._found) >= VALUES_MAX:
                self._found.clear()
            found = self._found[id(value)] = value, self._find(value)
        return found[1]


bytes_of: Final = Once[Record, bytes](encode_record)
"""The canonical bytes of a message or record."""

_frames_of: Final = Once[PeerMessage, dict[int, bytes]](lambda _: {})


def frame_of(message: PeerMessage, epoch: int) -> bytes:
    """The message in a frame of this epoch."""
    frames = _frames_of(message)
    frame = frames.get(epoch)
    if frame is None:
        frame = frames[epoch] = wire.message_frame(message, epoch)
    return frame
