"""Serves a node of a chain in memory over gRPC on loopback, and over GM-TLS, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import grpc
import grpc.aio

from guqiao.consensus.v1 import node_service_pb2_grpc as service
from guqiao_sdk.conformance.port import Node
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.gm.certificates import service_identity
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS, CSRC, MARKET
from services.chassis.errors import NotFoundError
from services.chassis.gm_tls import AuthorityFiles, GmTlsFiles, GmTlsIdentity
from services.chassis.gm_tunnel import TunnelServer
from services.chassis.grpc_server.grpc_errors import to_rpc_status

SECONDS_MAX: Final = 180
LOOPBACK: Final = "127.0.0.1"


class ServedNode(service.NodeServiceServicer):
    """Passes each call on to a `Node`; its refusals travel as a service's do. Signatures of
    requests are not asked for.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    async def ListNetworks(self, request: Any, context: Any) -> Any:
        return await _said(self._node.list_networks(), context)

    async def GetNetworkOptions(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_network_options(), context)

    async def GetNetworkStatus(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_network_status(), context)

    async def GetBlock(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_block(request.height), context)

    async def GetTransaction(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_transaction(request.transaction_id), context)

    async def GetConsensusState(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_consensus_state(request.height), context)

    async def ListSetChanges(self, request: Any, context: Any) -> Any:
        return await _said(self._node.list_set_changes(request.from_epoch), context)

    async def ListObjects(self, request: Any, context: Any) -> Any:
        return await _said(self._node.list_objects(request.height), context)

    async def GetObject(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_object(request.object_id, request.version), context)

    async def GetStateProof(self, request: Any, context: Any) -> Any:
        return await _said(self._node.get_state_proof(request.key, request.height), context)

    async def GetStateProofs(self, request: Any, context: Any) -> Any:
        await _unserved(context)

    async def GetIdentity(self, request: Any, context: Any) -> Any:
        await _unserved(context)

    async def SubmitTransaction(self, request: Any, context: Any) -> Any:
        await _unserved(context)

    async def SubmitTransactions(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        yield await _unserved(context)

    async def WatchBlocks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield await _unserved(context)


async def _unserved(context: Any) -> Any:
    """What an examination does not ask for."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not served here")


async def _said(call: Awaitable[Any], context: Any) -> Any:
    try:
        return await call
    except GuqiaoError as error:
        status = to_rpc_status(NotFoundError(error.code, violations=(), **error.fields))
        metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.NOT_FOUND, status.message, metadata)


@contextmanager
def serving(nodes: Sequence[Node]) -> Iterator[list[int]]:
    """The loopback ports of as many servers, until the block ends."""
    servers: list[grpc.aio.Server] = []

    async def start() -> list[int]:
        ports = []
        for node in nodes:
            server = grpc.aio.server()
            service.add_NodeServiceServicer_to_server(ServedNode(node), server)
            ports.append(server.add_insecure_port(f"{LOOPBACK}:0"))
            await server.start()
            servers.append(server)
        return ports

    async def stop() -> None:
        for server in servers:
            await server.stop(None)

    with _loop() as run:
        ports = run(start)
        try:
            yield ports
        finally:
            run(stop)


@contextmanager
def gm_ends(layout: Layout, targets: Sequence[tuple[str, int]]) -> Iterator[list[int]]:
    """A GM-TLS end before each server, `(host, loopback port)`, as a sidecar of the n-th replica of
    the market's chain: it lets the regulator's gateway in and nobody else. Yields the ports.
    """
    ends = [_end(layout, number, *target) for number, target in enumerate(targets)]

    async def start() -> list[int]:
        for end in ends:
            await end.start()
        return [end.port for end in ends]

    async def stop() -> None:
        for end in ends:
            await end.close()

    with _loop() as run:
        ports = run(start)
        try:
            yield ports
        finally:
            run(stop)


def _end(layout: Layout, number: int, host: str, target_port: int) -> TunnelServer:
    folder = layout.process(f"{MARKET}-{number}")
    authorities = tuple(
        AuthorityFiles(path / "ca.pem", path / "crl.pem", frozenset({domain}))
        for domain, path in ((each, layout.authority(each)) for each in CHAINS)
    )
    return TunnelServer(
        GmTlsIdentity(GmTlsFiles(folder / "tls.pem", folder / "tls.key", authorities)),
        host=host,
        port=0,
        target_port=target_port,
        accept=frozenset({service_identity(CSRC, "gateway")}),
    )


@contextmanager
def _loop() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """A loop in a thread of its own, and what runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield lambda made: asyncio.run_coroutine_threadsafe(made(), loop).result(SECONDS_MAX)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS_MAX)
        loop.close()
