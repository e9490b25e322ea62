"""Length-prefixed frames over a stream: u32 big-endian length, then that many bytes.

The length is checked before anything is read or stored, so a peer cannot make us wait for, or hold,
more than the agreed maximum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from services.chassis.gm_tls.errors import FrameTooLargeError, LinkBrokenError
from services.chassis.gm_tls.stream import GmStream

PREFIX_SIZE: Final = 4
FRAME_SIZE_MAX: Final = 16 * 1024 * 1024


async def read_frame(stream: GmStream, *, size_max: int = FRAME_SIZE_MAX) -> bytes | None:
    """Return the next frame, or None at a proper end between frames.

    Raises `FrameTooLargeError`, after which the stream is out of step and must be closed, and
    `LinkBrokenError` when the link ends inside a frame.
    """
    try:
        prefix = await stream.readexactly(PREFIX_SIZE)
        size = int.from_bytes(prefix, "big")
        if size > size_max:
            raise FrameTooLargeError(size, size_max)
        return await stream.readexactly(size)
    except asyncio.IncompleteReadError as error:
        if not error.partial and error.expected == PREFIX_SIZE:
            return None
        raise LinkBrokenError("it ended inside a frame") from None


async def write_frames(
    stream: GmStream, frames: Sequence[bytes], *, size_max: int = FRAME_SIZE_MAX
) -> None:
    """Send frames as one batch and wait for the peer to keep up."""
    for frame in frames:
        if len(frame) > size_max:
            raise FrameTooLargeError(len(frame), size_max)
    for frame in frames:
        stream.write(len(frame).to_bytes(PREFIX_SIZE, "big"))
        stream.write(frame)
    await stream.drain()
