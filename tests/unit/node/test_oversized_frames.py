"""A frame larger than one may be cuts the link, and is counted against whoever announced it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from services.chassis.gm_tls import FrameTooLargeError, GmStream, GmTlsIdentity
from services.consensus.peers import FRAME_BYTES_MAX, PeerLinks


class Stream:
    """Gives these bytes, then nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def readexactly(self, count: int) -> bytes:
        if len(self._data) < count:
            raise asyncio.IncompleteReadError(self._data, count)
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def links(heard: list[tuple[Any, ...]]) -> PeerLinks:
    return PeerLinks(
        chain_id="shandong",
        replica=0,
        addresses=[("127.0.0.1", 1)] * 4,
        identity=cast(GmTlsIdentity, None),
        on_frame=lambda sender, frame: heard.append(("frame", sender, frame)),
        on_link=lambda other: heard.append(("link", other)),
        on_oversized=lambda sender, why: heard.append(("oversized", sender, why)),
    )


@pytest.mark.req("G2-07-1")
async def test_an_oversized_frame_is_told_with_its_sender_before_the_link_ends() -> None:
    heard: list[tuple[Any, ...]] = []
    good, size = b"good", FRAME_BYTES_MAX + 1
    stream = Stream(len(good).to_bytes(4, "big") + good + size.to_bytes(4, "big"))
    with pytest.raises(FrameTooLargeError):
        await links(heard)._serve(3, cast(GmStream, stream))
    assert [each[:2] for each in heard] == [("link", 3), ("frame", 3), ("oversized", 3)]
    assert str(size) in heard[2][2]


async def test_a_link_that_ends_between_two_frames_accuses_nobody() -> None:
    heard: list[tuple[Any, ...]] = []
    await links(heard)._serve(2, cast(GmStream, Stream(b"\x00\x00\x00\x01x")))
    assert [each[0] for each in heard] == ["link", "frame"]


@pytest.mark.req("G2-07-2")
def test_a_frame_for_a_member_whose_address_is_not_here_is_none_and_said_once() -> None:
    """A set change may name a member before this node is told where it is."""
    peers = links([])
    with capture_logs() as logs:
        for _ in range(3):
            peers.send(4, b"frame")
    peers.send(3, b"frame")
    assert [(each["event"], each["replica"]) for each in logs] == [("link.no_address", 4)]
