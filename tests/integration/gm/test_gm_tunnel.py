"""The tunnel, with a real gRPC server behind it: identities are right, strangers get nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis.gm_tls import LinkBrokenError
from services.chassis.gm_tunnel import (
    IdentityLookup,
    IdentityMap,
    LookupServer,
    SocketIdentityLookup,
    TunnelClient,
    TunnelRoute,
    TunnelServer,
)
from tests.integration.gm.gm_network import Holder, Network, recording, wait_until

GATEWAY = "guqiao:service:csrc/gateway"
REGISTRY = "guqiao:service:shandong/registry"
STRANGER = "guqiao:service:hebei/registry"
CANARY = b"canary-of-the-tunnel"
SIZE_MAX = 16 * 1024 * 1024
OPTIONS = [
    ("grpc.max_receive_message_length", SIZE_MAX),
    ("grpc.max_send_message_length", SIZE_MAX),
]


class Echo(grpc.GenericRpcHandler):
    """Answers who is asking, as the tunnel tells it, and what was said."""

    def __init__(self) -> None:
        self.lookup: IdentityLookup = IdentityMap()

    def service(self, details: Any) -> Any:
        if details.method == "/test.Echo/Echo":
            return grpc.unary_unary_rpc_method_handler(self._echo)
        if details.method == "/test.Echo/EchoAll":
            return grpc.stream_stream_rpc_method_handler(self._echo_all)
        return None

    async def _caller(self, context: Any) -> bytes:
        port = int(context.peer().rpartition(":")[2])
        identity = await self.lookup.identity_of(port)
        if identity is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no tunnel")
        assert identity is not None
        return identity.encode()

    async def _echo(self, request: bytes, context: Any) -> bytes:
        return await self._caller(context) + b"|" + request

    async def _echo_all(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        caller = await self._caller(context)
        async for request in requests:
            yield caller + b"|" + request


@asynccontextmanager
async def grpc_server() -> AsyncIterator[tuple[Echo, int]]:
    echo = Echo()
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield echo, port
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def tunnelled(
    server: Holder, client: Holder, target_port: int, *, expected_peer: str = GATEWAY
) -> AsyncIterator[tuple[TunnelServer, TunnelClient]]:
    inward = TunnelServer(
        server.identity(), host="127.0.0.1", port=0, target_port=target_port, accept={REGISTRY}
    )
    await inward.start()
    outward = TunnelClient(
        client.identity(), [TunnelRoute(0, "127.0.0.1", inward.port, expected_peer)]
    )
    await outward.start()
    try:
        yield inward, outward
    finally:
        await outward.close()
        await inward.close()


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    # A subchannel of its own: a test must not inherit another's connection or its back-off.
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call: Any = channel.unary_unary("/test.Echo/Echo")

        async def echo(request: bytes) -> bytes:
            answer: bytes = await call(request, timeout=20)
            return answer

        yield echo


@pytest.mark.req("G2-16-1", "G2-09-4")
async def test_a_call_arrives_with_the_callers_identity(network: Network) -> None:
    async with (
        grpc_server() as (echo, target),
        tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (inward, outward),
        calling(outward.ports[0]) as call,
    ):
        echo.lookup = inward.identities
        assert await call(b"hello") == REGISTRY.encode() + b"|hello"


async def test_a_call_beside_the_tunnel_has_no_identity(network: Network) -> None:
    async with (
        grpc_server() as (echo, target),
        tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (inward, _),
        calling(target) as call,
    ):
        echo.lookup = inward.identities
        with pytest.raises(grpc.aio.AioRpcError, match="no tunnel"):
            await call(b"hello")


async def test_a_large_message_and_many_small_ones_pass(network: Network) -> None:
    large = os.urandom(10 * 1024 * 1024)
    async with (
        grpc_server() as (echo, target),
        tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (inward, outward),
        calling(outward.ports[0]) as call,
    ):
        echo.lookup = inward.identities
        assert await call(large) == REGISTRY.encode() + b"|" + large
        answers = await asyncio.gather(*(call(b"%d" % number) for number in range(200)))
        assert answers == [REGISTRY.encode() + b"|%d" % number for number in range(200)]
        assert len(inward.identities) == 1, "one connection carries all calls"


async def test_a_stream_of_messages_passes_both_ways(network: Network) -> None:
    async with (
        grpc_server() as (echo, target),
        tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (inward, outward),
        grpc.aio.insecure_channel(f"127.0.0.1:{outward.ports[0]}") as channel,
    ):
        echo.lookup = inward.identities
        call: Any = channel.stream_stream("/test.Echo/EchoAll")(timeout=20)
        for number in range(50):
            await call.write(b"%d" % number)
            assert await call.read() == REGISTRY.encode() + b"|%d" % number
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


@pytest.mark.req("G2-09-4")
async def test_what_passes_between_the_machines_cannot_be_read(network: Network) -> None:
    server, client = network.holder(GATEWAY), network.holder(REGISTRY)
    async with grpc_server() as (echo, target), tunnelled(server, client, target) as (inward, _):
        echo.lookup = inward.identities
        async with recording(inward.port) as recorder:
            outward = TunnelClient(
                client.identity(), [TunnelRoute(0, "127.0.0.1", recorder.port, GATEWAY)]
            )
            await outward.start()
            async with calling(outward.ports[0]) as call:
                assert CANARY in await call(CANARY)
            await outward.close()
            assert len(recorder.seen) > 2 * len(CANARY)
            for secret in (CANARY, b"test.Echo", REGISTRY.encode()):
                assert secret not in recorder.seen


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(
    ("who", "reason"),
    [("stranger", "not_accepted"), ("revoked", "revoked"), ("expired", "expired")],
)
async def test_a_caller_who_may_not_come_gets_nowhere(
    network: Network, who: str, reason: str
) -> None:
    server = network.holder(GATEWAY)
    if who == "stranger":
        client = network.holder(STRANGER)
    elif who == "expired":
        from tests.integration.gm.gm_network import HOUR

        client = network.holder(REGISTRY, start=-3 * HOUR, end=-2 * HOUR)
    else:
        client = network.holder(REGISTRY)
        network.write_crl([client.serial])
    async with (
        grpc_server() as (echo, target),
        tunnelled(server, client, target) as (inward, outward),
        calling(outward.ports[0]) as call,
    ):
        echo.lookup = inward.identities
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"hello")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await wait_until(lambda: bool(server.refusals))
    assert set(server.reasons) == {reason}, "the refusal is told, never silent"
    assert len(inward.identities) == 0


@pytest.mark.req("G2-16-1")
async def test_a_route_leads_to_its_pinned_peer_or_nowhere(network: Network) -> None:
    server, client = network.holder(STRANGER), network.holder(REGISTRY)
    async with (
        grpc_server() as (_, target),
        tunnelled(server, client, target, expected_peer=GATEWAY) as (_, outward),
        calling(outward.ports[0]) as call,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"hello")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert set(client.reasons) == {"wrong_identity"}


@pytest.mark.req("G2-16-1", "G2-09-6")
async def test_a_new_list_cuts_a_tunnel_in_use(network: Network) -> None:
    server, client = network.holder(GATEWAY), network.holder(REGISTRY)
    identity = server.identity()
    async with grpc_server() as (echo, target):
        inward = TunnelServer(
            identity, host="127.0.0.1", port=0, target_port=target, accept={REGISTRY}
        )
        await inward.start()
        outward = TunnelClient(
            client.identity(), [TunnelRoute(0, "127.0.0.1", inward.port, GATEWAY)]
        )
        await outward.start()
        echo.lookup = inward.identities
        async with calling(outward.ports[0]) as call:
            assert await call(b"before") == REGISTRY.encode() + b"|before"
            network.write_crl([client.serial])
            assert identity.reload() == 1
            await wait_until(lambda: len(inward.identities) == 0)
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"after")
        await outward.close()
        await inward.close()
    assert set(server.reasons) == {"revoked"}


@asynccontextmanager
async def plain_server(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_half_close_passes_through(network: Network) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(f"{len(data)}:".encode() + bytes(200_000))
        writer.close()

    async with (
        plain_server(count) as target,
        tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (inward, outward),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", outward.ports[0])
        writer.write(bytes(1_000_000))
        writer.write_eof()
        assert await reader.read() == b"1000000:" + bytes(200_000)
        writer.close()
        await wait_until(lambda: len(inward.identities) == 0)


async def test_a_server_that_breaks_off_is_not_taken_for_an_end(network: Network) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        writer.write(b"half of")
        await writer.drain()
        await reader.readexactly(5)
        writer.transport.abort()

    async with (
        plain_server(break_off) as target,
        tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (inward, outward),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", outward.ports[0])
        writer.write(b"first")
        assert await reader.readexactly(7) == b"half of"
        writer.write(b"again" + bytes(100_000))
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()
        await wait_until(lambda: len(inward.identities) == 0)


async def test_without_a_server_behind_it_the_caller_is_told(network: Network) -> None:
    async def unused(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with plain_server(unused) as target:
        pass  # Now nobody listens there.
    async with tunnelled(network.holder(GATEWAY), network.holder(REGISTRY), target) as (_, outward):
        reader, writer = await asyncio.open_connection("127.0.0.1", outward.ports[0])
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()


async def test_the_lookup_answers_over_its_socket(tmp_path: Path) -> None:
    identities = IdentityMap()
    identities.add(4711, REGISTRY)
    server = LookupServer(identities, tmp_path / "lookup")
    await server.start()
    assert (tmp_path / "lookup").stat().st_mode & 0o777 == 0o660
    lookup = SocketIdentityLookup(tmp_path / "lookup")
    assert await lookup.identity_of(4711) == REGISTRY
    assert await lookup.identity_of(4712) is None
    answers = await asyncio.gather(*(lookup.identity_of(4710 + number % 3) for number in range(60)))
    assert answers == [None, REGISTRY, None] * 20
    identities.remove(4711)
    assert await lookup.identity_of(4711) is None
    await server.close()
    with pytest.raises(LinkBrokenError, match="does not answer"):
        await lookup.identity_of(4711)
    again = LookupServer(identities, tmp_path / "lookup")
    await again.start()
    assert await lookup.identity_of(4711) is None, "it connects again after a restart"
    await lookup.close()
    await again.close()


async def test_the_lookup_replaces_a_socket_left_behind_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "lookup"
    left = await asyncio.start_unix_server(lambda *_: None, path)
    left.close()
    server = LookupServer(IdentityMap(), path)
    await server.start()
    await server.close()
    path.write_text("precious")
    with pytest.raises(OSError, match=r"(?i)in use"):
        await LookupServer(IdentityMap(), path).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("noise", [b"x" * 2000 + b"\n", b"\xff\xfe\n", b"-1\n", b"\n", b"1e3\n"])
async def test_noise_on_the_lookup_socket_gets_no_identity(tmp_path: Path, noise: bytes) -> None:
    identities = IdentityMap()
    identities.add(1, REGISTRY)
    server = LookupServer(identities, tmp_path / "lookup")
    await server.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "lookup")
    writer.write(noise)
    writer.write_eof()
    assert REGISTRY.encode() not in await reader.read()
    writer.close()
    lookup = SocketIdentityLookup(tmp_path / "lookup")
    assert await lookup.identity_of(1) == REGISTRY
    await lookup.close()
    await server.close()


def _write_config(path: Path, holder: Holder, rest: str) -> None:
    files = holder.files
    path.write_text(
        "[identity]\n"
        f'certificate = "{files.certificate}"\n'
        f'private_key = "{files.private_key}"\n'
        "[[identity.authorities]]\n"
        f"domains = {sorted(files.authorities[0].domains)}\n"
        f'certificate = "{files.authorities[0].certificate}"\n'
        f'crl = "{files.authorities[0].crl}"\n' + rest,
        "utf-8",
    )


async def _sidecar(config: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.chassis.gm_tunnel",
        "--config",
        str(config),
        stderr=asyncio.subprocess.PIPE,
    )


async def _started(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := await process.stderr.readline():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "gm_tunnel.started":
                return event
    raise AssertionError("the sidecar did not start")


@pytest.mark.end_to_end
@pytest.mark.req("G2-16-1")
async def test_two_sidecars_carry_a_call_and_its_identity(network: Network, tmp_path: Path) -> None:
    socket = tmp_path / "lookup"
    async with grpc_server() as (echo, target):
        _write_config(
            tmp_path / "server.toml",
            network.holder(GATEWAY),
            f'[server]\nhost = "127.0.0.1"\nport = 0\ntarget_port = {target}\n'
            f'accept = ["{REGISTRY}"]\nlookup_socket = "{socket}"\n',
        )
        inward = await _sidecar(tmp_path / "server.toml")
        inward_port = (await _started(inward))["server_port"]
        _write_config(
            tmp_path / "client.toml",
            network.holder(REGISTRY),
            f'[[routes]]\nlisten_port = 0\nhost = "127.0.0.1"\nport = {inward_port}\n'
            f'expected_peer = "{GATEWAY}"\n',
        )
        outward = await _sidecar(tmp_path / "client.toml")
        port = (await _started(outward))["route_ports"][0]
        lookup = SocketIdentityLookup(socket)
        echo.lookup = lookup
        async with calling(port) as call:
            assert await call(b"hello") == REGISTRY.encode() + b"|hello"
        await lookup.close()
        for process in (outward, inward):
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                await process.communicate()
            assert process.returncode == 0
    assert not socket.exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not toml [", "gm_tunnel.refused_to_start"),
        ("", "identity"),
        ("[identity]\ncertificate = 'a'\nunknown = 1\n", "unknown"),
        (None, "gm_tunnel.refused_to_start"),
    ],
)
async def test_a_configuration_that_cannot_be_used_ends_the_sidecar(
    tmp_path: Path, text: str | None, why: str
) -> None:
    config = tmp_path / "config.toml"
    if text is not None:
        config.write_text(text)
    process = await _sidecar(config)
    async with asyncio.timeout(60):
        _, error = await process.communicate()
    assert process.returncode == 2
    assert why.encode() in error
    assert b"Traceback" not in error


async def test_a_sidecar_with_nothing_to_do_or_a_bad_key_refuses_to_start(
    network: Network, tmp_path: Path
) -> None:
    holder = network.holder(GATEWAY)
    _write_config(tmp_path / "config.toml", holder, "")
    process = await _sidecar(tmp_path / "config.toml")
    _, error = await process.communicate()
    assert (process.returncode, b"neither" in error) == (2, True)
    holder.files.private_key.chmod(0o644)
    route = f'[[routes]]\nlisten_port = 0\nhost = "h"\nport = 1\nexpected_peer = "{GATEWAY}"\n'
    _write_config(tmp_path / "config.toml", holder, route)
    process = await _sidecar(tmp_path / "config.toml")
    _, error = await process.communicate()
    assert (process.returncode, b"chmod 600" in error) == (2, True)
