"""Links that are made: what is written arrives, the wire shows nothing, memory is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.gm_tls import (
    FrameTooLargeError,
    GmStream,
    GmTlsIdentity,
    GmTlsSettings,
    IdleTimeoutError,
    LinkBrokenError,
    PeerRefusedError,
    open_connection,
    read_frame,
    start_server,
    write_frames,
)
from services.chassis.gm_tls.engine import TlsEngine
from tests.integration.gm.gm_network import Network, recording, wait_until

SERVER = "guqiao:replica:shandong/0"
CLIENT = "guqiao:replica:shandong/1"
CANARY = b"canary-91370000-the-text-that-must-not-be-seen"


async def echo(stream: GmStream) -> None:
    while data := await stream.read(65536):
        stream.write(data)
        await stream.drain()


@asynccontextmanager
async def linked(
    network: Network,
    handler: Callable[[GmStream], Awaitable[None]] = echo,
    *,
    server_settings: GmTlsSettings = GmTlsSettings(),  # noqa: B008 - immutable
    client_settings: GmTlsSettings = GmTlsSettings(),  # noqa: B008 - immutable
) -> AsyncIterator[GmStream]:
    """A link from replica 1 to replica 0, where `handler` runs."""
    server, client = network.holder(SERVER), network.holder(CLIENT)
    listening = await start_server(
        handler,
        "127.0.0.1",
        0,
        server.identity(),
        accept={CLIENT},
        settings=server_settings,
    )
    async with listening:
        stream = await open_connection(
            "127.0.0.1",
            listening.port,
            client.identity(),
            expected_peer=SERVER,
            settings=client_settings,
        )
        yield stream
        stream.close()
        await stream.wait_closed()


@pytest.mark.req("G2-09-4", "G2-16-1")
async def test_each_end_knows_the_other_by_its_certificate(network: Network) -> None:
    seen: list[str] = []

    async def note(stream: GmStream) -> None:
        seen.append(stream.peer_identity)
        await echo(stream)

    async with linked(network, note) as stream:
        stream.write(b"hello")
        await stream.drain()
        assert await stream.readexactly(5) == b"hello"
        assert stream.peer_identity == SERVER
        assert stream.peer_certificate.organisation == "示例机构"
    assert seen == [CLIENT]


@pytest.mark.req("G2-09-4")
async def test_the_link_uses_the_national_suite_and_group(network: Network) -> None:
    async with linked(network) as stream:
        tls = stream._engine._tls
        assert tls.get_cipher_name() == "TLS_SM4_GCM_SM3"
        assert tls.get_group_name() == "curveSM2"
        assert tls.get_protocol_version_name() == "TLSv1.3"


@pytest.mark.req("G2-09-4")
async def test_nothing_on_the_wire_can_be_read(network: Network) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    listening = await start_server(echo, "127.0.0.1", 0, server.identity(), accept={CLIENT})
    async with listening, recording(listening.port) as recorder:
        stream = await open_connection(
            "127.0.0.1", recorder.port, client.identity(), expected_peer=SERVER
        )
        stream.write(CANARY)
        await stream.drain()
        assert await stream.readexactly(len(CANARY)) == CANARY
        stream.close()
        await stream.wait_closed()
    assert len(recorder.seen) > 2 * len(CANARY)
    for secret in (CANARY, CANARY[7:21], SERVER.encode(), CLIENT.encode()):
        assert secret not in recorder.seen


@pytest.mark.parametrize("size", [1, 16_383, 16_385, 300_000, 5_000_000])
async def test_data_of_any_size_arrives_unchanged(network: Network, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    async with linked(network) as stream, asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(stream.readexactly(size))
        stream.write(data)
        await stream.drain()
        assert await answer == data


async def test_after_a_half_close_the_answer_still_comes(network: Network) -> None:
    async def answer_at_the_end(stream: GmStream) -> None:
        received = 0
        while data := await stream.read(65536):
            received += len(data)
        stream.write(received.to_bytes(8, "big") + bytes(500_000))
        await stream.drain()

    async with linked(network, answer_at_the_end) as stream:
        stream.write(bytes(123_456))
        stream.write_eof()
        assert int.from_bytes(await stream.readexactly(8), "big") == 123_456
        assert await stream.readexactly(500_000) == bytes(500_000)
        assert await stream.read(1) == b""
        with pytest.raises(LinkBrokenError, match="closed its writing side"):
            stream.write(b"more")


async def test_an_orderly_close_is_an_end_and_no_error(network: Network) -> None:
    async def say_bye(stream: GmStream) -> None:
        stream.write(b"bye")

    async with linked(network, say_bye) as stream:
        assert await stream.read(100) == b"bye"
        assert await stream.read(100) == b""
        with pytest.raises(asyncio.IncompleteReadError):
            await stream.readexactly(1)


@pytest.mark.req("G2-09-4")
async def test_a_link_cut_off_in_the_middle_is_no_proper_end(network: Network) -> None:
    """Whoever closes the TCP connection cannot make cut-off data look complete."""

    async def cut_off(stream: GmStream) -> None:
        stream.write(b"half of the mess")
        await stream.drain()
        stream._transport.close()

    async with linked(network, cut_off) as stream:
        with pytest.raises(LinkBrokenError, match="without a goodbye"):
            await stream.readexactly(1000)
        with pytest.raises(LinkBrokenError):
            stream.write(b"x")
        with pytest.raises(LinkBrokenError):
            await stream.drain()


async def test_an_altered_record_breaks_the_link(network: Network) -> None:
    async with linked(network) as stream:
        stream.data_received(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(LinkBrokenError):
            await stream.read(1)


async def test_a_silent_peer_is_noticed(network: Network) -> None:
    impatient = GmTlsSettings(idle_read_timeout_seconds=0.05)
    async with linked(network, client_settings=impatient) as stream:
        with pytest.raises(IdleTimeoutError, match=r"0\.05 s"):
            await stream.read(1)
        stream.write(b"still alive")
        assert await stream.readexactly(11) == b"still alive"


async def test_a_reader_that_waits_holds_the_sender_back(network: Network) -> None:
    """The receiver keeps at most its buffer and what was on its way; then everything arrives."""
    total, buffer_size = 8 * 1024 * 1024, 64 * 1024
    go = asyncio.Event()
    received: list[GmStream] = []
    sizes: list[int] = []

    async def read_late(stream: GmStream) -> None:
        received.append(stream)
        await go.wait()
        sizes.append(stream.buffered())
        count = 0
        while data := await stream.read(65536):
            count += len(data)
        stream.write(count.to_bytes(8, "big"))

    small = GmTlsSettings(read_buffer_size_max=buffer_size, write_buffer_size_max=buffer_size)
    async with (
        linked(network, read_late, server_settings=small, client_settings=small) as stream,
        asyncio.TaskGroup() as tasks,
    ):

        async def send() -> None:
            for _ in range(total // 65536):
                stream.write(bytes(65536))
                await stream.drain()
            stream.write_eof()

        sending = tasks.create_task(send())
        await wait_until(lambda: bool(received) and received[0]._reading_paused)
        await wait_until(lambda: stream._writing_paused)
        assert not sending.done()
        go.set()
        assert int.from_bytes(await stream.readexactly(8), "big") == total
        assert sizes[0] < 1024 * 1024


async def test_a_peer_that_reads_nothing_for_too_long_breaks_the_link(network: Network) -> None:
    stop = asyncio.Event()

    async def read_nothing(stream: GmStream) -> None:
        await stop.wait()

    small = GmTlsSettings(
        read_buffer_size_max=1024, write_buffer_size_max=1024, write_stall_timeout_seconds=0.2
    )
    async with linked(network, read_nothing, server_settings=small, client_settings=small) as link:

        async def write_on() -> None:
            for _ in range(10_000):
                link.write(bytes(65536))
                await link.drain()

        with pytest.raises(LinkBrokenError, match="read nothing"):
            await write_on()
        stop.set()


async def test_frames_arrive_one_by_one_and_the_end_is_clean(network: Network) -> None:
    frames = [b"", b"a", bytes(100_000), b"last"]
    got: list[bytes] = []

    async def collect(stream: GmStream) -> None:
        while (frame := await read_frame(stream)) is not None:
            got.append(frame)
        await write_frames(stream, [b"end"])

    async with linked(network, collect) as stream:
        await write_frames(stream, frames)
        stream.write_eof()
        assert await read_frame(stream) == b"end"
        assert await read_frame(stream) is None
    assert got == frames


async def test_a_frame_that_is_too_large_is_refused_on_both_sides(network: Network) -> None:
    async def send_large(stream: GmStream) -> None:
        stream.write((2**32 - 1).to_bytes(4, "big"))
        await stream.read(1)

    async with linked(network, send_large) as stream:
        with pytest.raises(FrameTooLargeError, match="exceeds the limit") as caught:
            await read_frame(stream)
        assert caught.value.size == 2**32 - 1
        with pytest.raises(FrameTooLargeError, match="11 bytes exceeds the limit of 10"):
            await write_frames(stream, [b"small", bytes(11)], size_max=10)


async def test_a_link_that_ends_inside_a_frame_is_broken(network: Network) -> None:
    async def stop_early(stream: GmStream) -> None:
        stream.write((100).to_bytes(4, "big") + b"only this")

    async def stop_in_the_prefix(stream: GmStream) -> None:
        stream.write(b"\0\0")

    for handler in (stop_early, stop_in_the_prefix):
        async with linked(network, handler) as stream:
            with pytest.raises(LinkBrokenError, match="inside a frame"):
                await read_frame(stream)


@pytest.fixture
def pair(network: Network) -> Callable[[], tuple[TlsEngine, TlsEngine]]:
    server, client = network.holder(SERVER).identity(), network.holder(CLIENT).identity()

    def make() -> tuple[TlsEngine, TlsEngine]:
        return shake(client.engine(is_server=False), server.engine(is_server=True))

    return make


def shake(client: TlsEngine, server: TlsEngine) -> tuple[TlsEngine, TlsEngine]:
    """Carry bytes between two engines in memory until both are done."""
    done = [False, False]
    for _ in range(10):
        for index, (one, other) in enumerate(((client, server), (server, client))):
            done[index] = done[index] or one.shake_hands()
            for data in one.take_output():
                other.feed(data)
    assert all(done)
    return client, server


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    messages=st.lists(st.binary(max_size=40_000), max_size=6),
    cut=st.integers(min_value=1, max_value=7_000),
)
def test_however_the_wire_cuts_the_bytes_the_text_is_the_same(
    pair: Callable[[], tuple[TlsEngine, TlsEngine]], messages: list[bytes], cut: int
) -> None:
    client, server = pair()
    for message in messages:
        client.encrypt(message)
    client.say_close()
    wire = b"".join(client.take_output())
    received = bytearray()
    ended = [False]
    for start in range(0, len(wire), cut):
        server.feed(wire[start : start + cut])
        ended.append(server.decrypt_into(received))
    assert bytes(received) == b"".join(messages)
    assert ended[-1]
    assert not any(ended[:-1])


def test_an_identity_is_used_for_both_roles(network: Network) -> None:
    identity: GmTlsIdentity = network.holder(SERVER).identity()
    client, server = shake(identity.engine(is_server=False), identity.engine(is_server=True))
    assert client.peer().identity == server.peer().identity == identity.name == SERVER


async def test_a_link_is_given_up_once_the_peers_system_is_silent_for_its_time(
    network: Network,
) -> None:
    """What a cut network swallows is not waited for ever longer: the link breaks and is dialled
    again. `make partitions` cuts real ones.
    """
    bounded = GmTlsSettings(unacknowledged_timeout_seconds=1.5)
    for client_settings, expected_ms in ((bounded, 1_500), (GmTlsSettings(), 0)):
        async with linked(network, client_settings=client_settings) as stream:
            connection = stream._transport.get_extra_info("socket")
            limit_ms = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit_ms == expected_ms
            stream.write(CANARY)
            assert await stream.read(len(CANARY)) == CANARY


async def test_who_does_not_answer_at_all_is_waited_for_as_long_as_a_connection_may_take(
    network: Network,
) -> None:
    """A full backlog answers nothing, as a cut network does."""
    settings = GmTlsSettings(connect_timeout_seconds=0.2, handshake_timeout_seconds=60.0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        host, port = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex((host, port))
        with pytest.raises(PeerRefusedError, match=r"within 0\.2 s"):
            await open_connection(
                host,
                port,
                network.holder(CLIENT).identity(),
                expected_peer=SERVER,
                settings=settings,
            )
        for each in waiting:
            each.close()
