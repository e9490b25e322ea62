"""How the nodes of a chain are reached: over GM-TLS as they are registered, or on loopback.

gRPC has no suites of national cryptography, so each registered node gets a tunnel of its own, whose
peer must show the certificate of exactly that replica. Plain gRPC never leaves this machine, and a
scheme that nobody here speaks is not checked rather than taken for good.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.endpoints import MESSAGE_BYTES_MAX
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.conformance.port import Endpoint, Unreachable
from guqiao_sdk.conformance.rpc_node import RpcNode
from guqiao_sdk.gm.certificates import replica_identity
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.signing import RequestSigner
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CHAINS, CSRC
from services.chassis.gm_tls import (
    AuthorityFiles,
    GmTlsError,
    GmTlsFiles,
    GmTlsIdentity,
    open_connection,
)
from services.chassis.gm_tunnel import TunnelClient, TunnelRoute
from services.consensus.domain.contracts.chain_registry.form import Registration

GM_SCHEME: Final = "tlcp"
GM_TRANSPORT: Final = "GM-TLS (RFC 8998)"
LOOPBACK_TRANSPORT: Final = "gRPC on loopback"
NO_TRANSPORT: Final = "none"
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Dialled:
    """Where one node is. `replica` is None where it is none of the chain's set; `scheme` is the
    registered one, empty for a node on this machine.
    """

    url: str
    host: str
    port: int
    replica: int | None
    scheme: str


def registered_endpoints(registration: Registration, network: Network) -> list[Dialled]:
    """The nodes as they are registered; those of the network itself are on this machine."""
    numbers = {each.node_id: at for at, each in enumerate(registration.validators)}
    found = []
    for each in registration.endpoints:
        parts = urlsplit(each.url)
        host, port = parts.hostname, parts.port
        assert host is not None, "the registration was judged"
        assert port is not None, "and its port with it"
        where = network.reached_at(host, port)
        found.append(Dialled(each.url, *where, numbers.get(each.node_id), parts.scheme))
    return found


def named_endpoints(texts: Sequence[str]) -> list[Dialled]:
    """Nodes on this machine, `[REPLICA@]HOST:PORT`: the n-th is replica n unless it says so."""
    return [_named(text, number) for number, text in enumerate(texts)]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the nodes: the identity that signs each call, and the folder with the certificate
    of the regulator's gateway, which is shown on links.
    """

    identity: Identity
    provider: GmProvider
    network: Network

    def on_links(self) -> GmTlsIdentity:
        """Who this side is on a GM link; raises `GmError` or `GmTlsError`."""
        folder = self.network.layout.process(f"{CSRC}-gateway")
        authorities = tuple(
            AuthorityFiles(path / "ca.pem", path / "crl.pem", frozenset({domain}))
            for domain, path in ((each, self.network.layout.authority(each)) for each in CHAINS)
        )
        identity = GmTlsIdentity(GmTlsFiles(folder / "tls.pem", folder / "tls.key", authorities))
        identity.check_own()
        return identity


async def open_nodes(
    stack: AsyncExitStack, chain: str, dialled: Sequence[Dialled], reader: Reader
) -> list[Endpoint]:
    """Open what can be opened, until the stack is closed; the rest says why it could not be."""
    return [await _open(stack, chain, each, reader) for each in dialled]


async def _open(stack: AsyncExitStack, chain: str, place: Dialled, reader: Reader) -> Endpoint:
    if place.replica is None:
        why = Unreachable("CONFORMANCE_NODE_UNKNOWN", {"node": place.url}, is_ours=True)
        return Endpoint(place.url, None, NO_TRANSPORT, why)
    target, transport = f"{place.host}:{place.port}", LOOPBACK_TRANSPORT
    if place.scheme == GM_SCHEME:
        tunnelled = await _tunnel(stack, place, replica_identity(chain, place.replica), reader)
        if isinstance(tunnelled, Unreachable):
            return Endpoint(place.url, place.replica, GM_TRANSPORT, tunnelled)
        target, transport = f"{_LOOPBACK}:{tunnelled}", GM_TRANSPORT
    elif place.scheme:
        facts = {"scheme": place.scheme}
        why = Unreachable("CONFORMANCE_TRANSPORT_UNSUPPORTED", facts, is_ours=True)
        return Endpoint(place.url, place.replica, NO_TRANSPORT, why)
    signer = RequestSigner(
        did=reader.identity.did,
        key_id=reader.identity.key_id,
        private=reader.identity.private_key,
        provider=reader.provider,
        domain=chain,
        service=f"consensus/{place.replica}",
    )
    channel = open_channel(target, signer, message_bytes_max=MESSAGE_BYTES_MAX)
    await stack.enter_async_context(channel)
    return Endpoint(place.url, place.replica, transport, RpcNode(channel))


async def _tunnel(
    stack: AsyncExitStack, place: Dialled, peer: str, reader: Reader
) -> int | Unreachable:
    """The loopback port of a tunnel to the node, once a link to exactly that peer was made."""
    try:
        identity = reader.on_links()
    except (GmTlsError, GmError, OSError) as error:
        return Unreachable("CONFORMANCE_LINK_OURS", {"detail": str(error)}, is_ours=True)
    try:
        stream = await open_connection(place.host, place.port, identity, expected_peer=peer)
    except (GmTlsError, GmError, OSError) as error:
        return Unreachable("CONFORMANCE_LINK_FAILED", {"peer": peer, "detail": str(error)})
    stream.close()
    await stream.wait_closed()
    tunnel = TunnelClient(identity, [TunnelRoute(0, place.host, place.port, peer)])
    await tunnel.start()
    stack.push_async_callback(tunnel.close)
    return tunnel.ports[0]


def _named(text: str, number: int) -> Dialled:
    before, separator, address = text.rpartition("@")
    host, _, port = address.rpartition(":")
    replica = before if separator else str(number)
    if not (replica.isdecimal() and port.isdecimal() and 0 < int(port) < 65_536):
        raise _refused(text, "not [REPLICA@]HOST:PORT", "格式应为 [副本号@]主机:端口")
    if not _is_loopback(host.strip("[]")):
        raise _refused(
            text,
            "plain gRPC stays on this machine; name the local end of a GM tunnel",
            "明文 gRPC 不得离开本机，请指定国密隧道的本机端口",
        )
    return Dialled(text, host, int(port), int(replica), "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(text: str, english: str, chinese: str) -> CliError:
    shown = ascii(text[:80])
    return CliError(
        "REQUEST_MALFORMED",
        f"--endpoint {shown}: {english}",
        f"--endpoint {shown}：{chinese}",
        "see `guqiao chain conformance --help`",
        "请查看 `guqiao chain conformance --help`",
        exit_code=EXIT_USAGE,
    )
