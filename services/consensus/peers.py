"""Links to the other replicas: length-prefixed protobuf frames over GM-TLS.

Of each pair the replica with the lower number dials, so there is one link a pair. A link's identity
is pinned to the replica it must be. Queues are bounded and drop the oldest frames, passed-on
transactions first: PBFT repeats what matters. Of what a replica says of itself only the last
waits. Nothing that arrives here is believed yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from guqiao_sdk.gm.certificates import replica_identity
from services.chassis.gm_tls import (
    FrameTooLargeError,
    GmServer,
    GmStream,
    GmTlsError,
    GmTlsIdentity,
    GmTlsSettings,
    open_connection,
    read_frame,
    start_server,
    write_frames,
)

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
QUEUE_FRAMES_MAX: Final = 4_096
QUEUE_BYTES_MAX: Final = 48 * 1024 * 1024
WRITE_GAP_SECONDS: Final = 0.005
"""From one write on a link to the next: what comes meanwhile leaves together, as one record."""
WRITE_BYTES_MAX: Final = 1024 * 1024
RECONNECT_SECONDS_FIRST: Final = 0.1
RECONNECT_SECONDS_MAX: Final = 2.0
IDLE_SECONDS_MAX: Final = 60.0

LINK_SETTINGS: Final = GmTlsSettings(
    connect_timeout_seconds=2.0,
    handshake_timeout_seconds=5.0,
    unacknowledged_timeout_seconds=4.0,
    idle_read_timeout_seconds=IDLE_SECONDS_MAX,
    write_stall_timeout_seconds=30.0,
)

_log = structlog.get_logger(__name__)

OnFrame = Callable[[int, bytes], None]
OnLink = Callable[[int], None]
OnOversized = Callable[[int, str], None]


class Links(Protocol):
    """What the driver needs of the network; tests have one in memory."""

    def broadcast(self, frame: bytes, *, droppable: bool = False, latest: bool = False) -> None:
        """Queue a frame for every other replica. Droppable ones go first when a queue is full, and
        of the `latest`, which are not, only the last waits: a peer whose link was down, and whose
        folder may be another since, is not told where this replica stood before.
        """

    def send(self, to: int, frame: bytes, *, droppable: bool = False) -> None:
        """Queue a frame for one replica."""

    def connected(self) -> frozenset[int]:
        """The replicas to which a link is up."""


@dataclass(slots=True)
class SendQueue:
    """Frames for one replica. Never more than the bounds; the oldest give way."""

    essential: deque[bytes] = field(default_factory=deque)
    droppable: deque[bytes] = field(default_factory=deque)
    latest: bytes | None = None
    """The last frame that was put as such; it may have been taken."""
    size: int = 0
    dropped: int = 0
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frame: bytes, *, droppable: bool) -> None:
        """Queue `frame`."""
        (self.droppable if droppable else self.essential).append(frame)
        self.size += len(frame)
        while self.size > QUEUE_BYTES_MAX or len(self) > QUEUE_FRAMES_MAX:
            oldest = self.droppable if self.droppable else self.essential
            self.size -= len(oldest.popleft())
            self.dropped += 1
        self.filled.set()

    def put_latest(self, frame: bytes) -> None:
        """Queue `frame` behind all that is essential; the one before it waits no more."""
        earlier, self.latest = self.latest, frame
        if earlier is not None and earlier in self.essential:
            self.essential.remove(earlier)
            self.size -= len(earlier)
        self.put(frame, droppable=False)

    def take(self) -> list[bytes]:
        """The next frames to write together: essential ones first, about one MiB."""
        taken: list[bytes] = []
        size = 0
        for queue in (self.essential, self.droppable):
            while queue and (not taken or size + len(queue[0]) <= WRITE_BYTES_MAX):
                frame = queue.popleft()
                taken.append(frame)
                size += len(frame)
        self.size -= size
        if not self.essential and not self.droppable:
            self.filled.clear()
        return taken

    def __len__(self) -> int:
        return len(self.essential) + len(self.droppable)


class PeerLinks:
    """The links of one replica. `run` keeps them up until it is cancelled."""

    def __init__(
        self,
        *,
        chain_id: str,
        replica: int,
        addresses: Sequence[tuple[str, int]],
        identity: GmTlsIdentity,
        on_frame: OnFrame,
        on_link: OnLink,
        on_oversized: OnOversized,
    ) -> None:
        self._chain_id = chain_id
        self._replica = replica
        self._addresses = tuple(addresses)
        self._identity = identity
        self._on_frame = on_frame
        self._on_link = on_link
        self._on_oversized = on_oversized
        self._others = [other for other in range(len(addresses)) if other != replica]
        self._queues = {other: SendQueue() for other in self._others}
        self._unreachable: set[int] = set()
        self._streams: dict[int, GmStream] = {}
        self._server: GmServer | None = None

    def broadcast(self, frame: bytes, *, droppable: bool = False, latest: bool = False) -> None:
        """Queue a frame for every other replica."""
        for other in self._others:
            if latest:
                self._queues[other].put_latest(frame)
            else:
                self._queues[other].put(frame, droppable=droppable)

    def send(self, to: int, frame: bytes, *, droppable: bool = False) -> None:
        """Queue a frame for one replica; for a member whose address is not configured here, none
        is sent, and the log says so once.
        """
        queue = self._queues.get(to)
        if queue is not None:
            queue.put(frame, droppable=droppable)
        elif to not in self._unreachable:
            self._unreachable.add(to)
            _log.error("link.no_address", replica=to, setting="peers.addresses")

    def connected(self) -> frozenset[int]:
        """The replicas to which a link is up."""
        return frozenset(self._streams)

    def dropped(self) -> Mapping[int, int]:
        """How many frames each replica never got because its queue was full."""
        return {other: queue.dropped for other, queue in self._queues.items()}

    async def listen(self, host: str, port: int) -> int:
        """Listen for the replicas with lower numbers; returns the port."""
        expected = {
            replica_identity(self._chain_id, other)
            for other in self._others
            if other < self._replica
        }
        self._server = await start_server(
            self._welcome, host, port, self._identity, accept=expected, settings=LINK_SETTINGS
        )
        return self._server.port

    async def run(self) -> None:
        """Dial the replicas with higher numbers, again and again, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._identity.watch())
                for other in self._others:
                    if other > self._replica:
                        tasks.create_task(self._keep_dialling(other))
        finally:
            if self._server is not None:
                await self._server.close()

    async def _keep_dialling(self, other: int) -> None:
        host, port = self._addresses[other]
        peer = replica_identity(self._chain_id, other)
        wait = RECONNECT_SECONDS_FIRST
        while True:
            try:
                stream = await open_connection(
                    host, port, self._identity, expected_peer=peer, settings=LINK_SETTINGS
                )
                wait = RECONNECT_SECONDS_FIRST
                try:
                    await self._serve(other, stream)
                finally:
                    stream.close()
            except (GmTlsError, OSError) as error:
                _log.debug("link.failed", peer=other, why=str(error))
            await asyncio.sleep(wait)
            wait = min(2 * wait, RECONNECT_SECONDS_MAX)

    async def _welcome(self, stream: GmStream) -> None:
        number = stream.peer_identity.rpartition("/")[2]
        await self._serve(int(number), stream)

    async def _serve(self, other: int, stream: GmStream) -> None:
        """Read and write until either fails; a newer link takes the place of an older one."""
        earlier = self._streams.get(other)
        if earlier is not None:
            earlier.cut("a newer link to the same replica")
        self._streams[other] = stream
        _log.info("link.opened", peer=other)
        self._on_link(other)
        writer = asyncio.ensure_future(self._write(self._queues[other], stream))
        try:
            while (frame := await read_frame(stream, size_max=FRAME_BYTES_MAX)) is not None:
                self._on_frame(other, frame)
        except FrameTooLargeError as error:
            self._on_oversized(other, str(error))
            raise
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            if self._streams.get(other) is stream:
                del self._streams[other]
            _log.info("link.closed", peer=other)

    async def _write(self, queue: SendQueue, stream: GmStream) -> None:
        try:
            while True:
                await queue.filled.wait()
                await write_frames(stream, queue.take(), size_max=FRAME_BYTES_MAX)
                await asyncio.sleep(WRITE_GAP_SECONDS)
        except (GmTlsError, OSError):
            stream.cut("it cannot be written to")
