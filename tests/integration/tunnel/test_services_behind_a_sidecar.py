"""Every kind of service, as its composition root makes it from production settings, behind the
tunnel's sidecar: the certificate of a connection decides for whom its caller may speak.

The sidecar is the one that pods run, with its lookup socket; the chain behind the four services is
a `LedgerNode`, the replica is a whole one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from guqiao.consensus.v1 import node_service_pb2 as node_pb
from guqiao.consensus.v1.node_service_pb2_grpc import NodeServiceStub
from guqiao.enablement.v1 import enablement_service_pb2 as enablement_pb
from guqiao.enablement.v1.enablement_service_pb2_grpc import EnablementServiceStub
from guqiao.gateway.v1 import gateway_service_pb2 as gateway_pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao.registry.v1 import registry_service_pb2 as registry_pb
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao.reporting.v1 import reporting_service_pb2 as reporting_pb
from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceStub
from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.keyfile import save_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.signing import RequestSigner
from guqiaoctl.network.ports import free_ports
from services.chassis.bus.settings import PostgresBusSettings
from services.chassis.gm_tunnel import TunnelClient, TunnelRoute
from services.chassis.gm_tunnel.__main__ import TunnelConfig
from services.chassis.gm_tunnel.__main__ import run as run_sidecar
from services.chassis.settings import ServiceSettings, SettingsError, load_settings
from services.consensus import app as consensus
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.settings import Settings as ConsensusSettings
from services.enablement import app as enablement
from services.enablement.settings import Settings as EnablementSettings
from services.gateway import app as gateway
from services.gateway.settings import Settings as GatewaySettings
from services.registry import app as registry
from services.registry.settings import Settings as RegistrySettings
from services.reporting import app as reporting
from services.reporting.settings import Settings as ReportingSettings
from tests.integration.gm.gm_network import Holder, Network
from tests.plugins.chain_network import OBSERVER, ChainNetwork
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal, wait_until
from tests.unit.proof.proof_keys import Replicas, Sm2Keys
from tests.unit.xchain.ledger_chain import ROLES, LedgerChain

KEYS = Sm2Keys(open_provider())
CHAIN, REMOTE = "shandong", "csrc"
OTHER = "did:rem:shandong:91370000MA0000003X"
SYSTEMS = f"guqiao:service:{CHAIN}/operator-systems"
SIDECAR = f"guqiao:service:{CHAIN}/served"
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

Ask = Callable[[grpc.aio.Channel], Awaitable[Any]]

ASK: Mapping[str, Ask] = {
    "registry": lambda c: RegistryServiceStub(c).GetStatus(registry_pb.GetStatusRequest()),
    "reporting": lambda c: ReportingServiceStub(c).GetStatus(reporting_pb.GetStatusRequest()),
    "enablement": lambda c: EnablementServiceStub(c).ListServices(
        enablement_pb.ListServicesRequest()
    ),
    "gateway": lambda c: GatewayServiceStub(c).GetLink(
        gateway_pb.GetLinkRequest(remote_chain_id=REMOTE)
    ),
    "consensus": lambda c: NodeServiceStub(c).GetNetworkStatus(node_pb.GetNetworkStatusRequest()),
}
"""A question to each service that staff of any organisation may ask."""

SERVE: Mapping[str, Callable[[Any], Awaitable[None]]] = {
    "registry": registry.serve,
    "reporting": reporting.serve,
    "enablement": enablement.serve,
    "gateway": gateway.serve,
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the server and its sidecar listen, and the sidecar's lookup socket."""

    server: int
    sidecar: int
    socket: Path


@dataclass(frozen=True, slots=True)
class Served:
    """A running service: its audience, a caller of the certificate's organisation, another's."""

    domain: str
    service: str
    own: Identity
    stranger: Identity


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(KEYS.provider, tmp_path / "network")


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    server, sidecar = free_ports(2)
    return Ports(server, sidecar, tmp_path / "socket")


def grpc_settings(ports: Ports, organisation: str) -> dict[str, Any]:
    return {
        "port": ports.server,
        "lookup_socket": ports.socket,
        "organisations": {SYSTEMS: organisation},
    }


def gm_settings(holder: Holder) -> dict[str, Any]:
    [authority] = holder.files.authorities
    return {
        "certificate": holder.files.certificate,
        "key": holder.files.private_key,
        "authorities": [
            {
                "domains": sorted(authority.domains),
                "certificate": authority.certificate,
                "crl": authority.crl,
            }
        ],
    }


@asynccontextmanager
async def running(serve: Awaitable[None], port: int) -> AsyncIterator[None]:
    """Let it serve until the block ends; if it ends before it listens, its error is raised."""
    task = asyncio.ensure_future(serve)

    async def listens() -> bool:
        if task.done():
            task.result()
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    try:
        await wait_until("the server listens", listens)
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def sidecar(network: Network, ports: Ports) -> AsyncIterator[None]:
    """The sidecar of the pod, in front of the server."""
    own = gm_settings(network.holder(SIDECAR))
    config = TunnelConfig.model_validate(
        {
            "identity": {
                "certificate": own["certificate"],
                "private_key": own["key"],
                "authorities": own["authorities"],
            },
            "server": {
                "host": "127.0.0.1",
                "port": ports.sidecar,
                "target_port": ports.server,
                "accept": [SYSTEMS],
                "lookup_socket": ports.socket,
            },
        }
    )
    stop = asyncio.Event()
    task = asyncio.ensure_future(run_sidecar(config, stop))

    async def answers() -> bool:
        return task.done() or ports.socket.exists()

    try:
        await wait_until("the sidecar's socket", answers)
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def route(network: Network, ports: Ports) -> AsyncIterator[int]:
    """The caller's end of the tunnel: a port of the machine of the operator's systems."""
    client = TunnelClient(
        network.holder(SYSTEMS).identity(), [TunnelRoute(0, "127.0.0.1", ports.sidecar, SIDECAR)]
    )
    await client.start()
    try:
        yield client.ports[0]
    finally:
        await client.close()


@asynccontextmanager
async def chain_service(
    name: str,
    folder: Path,
    network: Network,
    ports: Ports,
    new_database: NewDatabase,
    replicas: Sequence[int] = (0, 1),
) -> AsyncIterator[Served]:
    """A service beside a chain that knows both callers; its one node answers for `replicas`."""
    record = IdentityRecord(
        OTHER,
        OTHER,
        frozenset({"observer"}),
        True,
        {"key-1": KeyRecord(KEYS.public_key(OTHER), 0, 1 << 52, False)},
    )
    chain = LedgerChain(
        CHAIN,
        KEYS,
        destination=REMOTE,
        remotes={REMOTE: Replicas(KEYS, REMOTE).set.hash()},
        roles=ROLES | {"observer"},
        others=[record],
    )
    node = LedgerNode(chain)
    await node.start()
    own = identity_of(chain, KEYS)
    save_private_key(folder / "signing.key", own.private_key)
    write_trust(folder / "trust.json", node.trust)
    common = {
        "domain": CHAIN,
        "grpc": grpc_settings(ports, own.organisation),
        "gm": gm_settings(network.holder(SIDECAR, tag="-service")),
        "identity": {
            "did": own.did,
            "key_id": own.key_id,
            "organisation": own.organisation,
            "key_file": folder / "signing.key",
        },
        "chain": {
            "chain_id": CHAIN,
            "trust_file": folder / "trust.json",
            "endpoints": [f"{replica}@127.0.0.1:{node.port}" for replica in replicas],
        },
        "postgres": await new_database(),
        "bus": PostgresBusSettings(database=await new_database()),
    }
    settings = settings_of(name, common, folder)
    assert settings.development is False
    try:
        async with running(SERVE[name](settings), ports.server):
            yield Served(CHAIN, name, own, identity_of(chain, KEYS, OTHER))
    finally:
        await node.stop()


def settings_of(name: str, common: dict[str, Any], folder: Path) -> ServiceSettings:
    """The settings of one service: what all share, and its own."""
    match name:
        case "registry":
            for key, size in (("digest.key", 32), ("bodies.key", 16)):
                (folder / key).touch(mode=0o600)
                (folder / key).write_text(bytes(size).hex())
            return RegistrySettings(
                **common,
                identity_key_file=folder / "digest.key",
                body_key_file=folder / "bodies.key",
            )
        case "reporting":
            return ReportingSettings(**common, role="market")
        case "gateway":
            write_trust(folder / "remote.json", LedgerNode(remote_chain()).trust)
            remote = {
                "chain_id": REMOTE,
                "domain": REMOTE,
                "trust_file": folder / "remote.json",
                "expected_peer": f"guqiao:service:{REMOTE}/gateway",
                "organisation": f"did:rem:{REMOTE}:91370000MA0000000X",
            }
            return GatewaySettings(
                **common, role="regulator", tunnel={"port": 0}, remotes=(remote,)
            )
        case _:
            return EnablementSettings(**common)


def remote_chain() -> LedgerChain:
    return LedgerChain(REMOTE, KEYS, destination=None, remotes={})


def write_trust(path: Path, trust: ChainTrust) -> None:
    members = [
        {
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": member.public_key.hex(),
        }
        for member in trust.replica_set.members
    ]
    content = {
        "chain_id": trust.chain_id,
        "genesis_hash": trust.genesis_hash.hex(),
        "epoch": trust.replica_set.epoch,
        "replicas": members,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


@asynccontextmanager
async def replica(folder: Path, ports: Ports) -> AsyncIterator[Served]:
    """One replica of four, which answers what it knows though the others are away."""
    stranger = f"1/{OBSERVER}"
    roles = {OBSERVER: ("observer",), stranger: ("observer",)}
    chain = ChainNetwork.create(folder / "chain", roles=roles)
    settings = load_settings(ConsensusSettings, chain.replicas[0].config)
    own = chain.identities[OBSERVER]
    values = {name: getattr(settings, name) for name in ConsensusSettings.model_fields}
    production = {"development": False, "grpc": grpc_settings(ports, own.organisation)}
    settings = ConsensusSettings(**{**values, **production})
    async with running(consensus.serve(settings), ports.server):
        yield Served(chain.chain_id, "consensus/0", own, chain.identities[stranger])


@asynccontextmanager
async def calling(served: Served, caller: Identity, port: int) -> AsyncIterator[grpc.aio.Channel]:
    signer = RequestSigner(
        caller.did,
        caller.key_id,
        caller.private_key,
        KEYS.provider,
        served.domain,
        served.service,
    )
    async with open_channel(f"127.0.0.1:{port}", signer) as channel:
        yield channel


@pytest.mark.req("G2-16-1", "G2-17-2", "G2-17-3")
@pytest.mark.parametrize("name", ASK)
async def test_behind_its_sidecar_a_service_hears_each_organisation_by_its_own_certificate_only(
    name: str, tmp_path: Path, network: Network, ports: Ports, new_database: NewDatabase
) -> None:
    ask = ASK[name]
    async with contextlib.AsyncExitStack() as stack:
        if name == "consensus":
            served = await stack.enter_async_context(replica(tmp_path, ports))
        else:
            service = chain_service(name, tmp_path, network, ports, new_database)
            served = await stack.enter_async_context(service)

        async with calling(served, served.own, ports.server) as early:
            assert await refusal(ask(early)) == (UNAVAILABLE, "GM_TLS_LINK_BROKEN")

        async with sidecar(network, ports), route(network, ports) as entry:
            async with calling(served, served.own, entry) as own:
                await ask(own)
            async with calling(served, served.stranger, entry) as stranger:
                assert await refusal(ask(stranger)) == (DENIED, "ORGANISATION_MISMATCH")
            for caller in (served.own, served.stranger):
                async with calling(served, caller, ports.server) as beside:
                    assert await refusal(ask(beside)) == (DENIED, "PEER_UNKNOWN")

        async with calling(served, served.own, ports.server) as late:
            assert await refusal(ask(late)) == (UNAVAILABLE, "GM_TLS_LINK_BROKEN")


@pytest.mark.req("G2-16-1")
async def test_a_service_that_could_only_believe_one_replica_does_not_start(
    network: Network, tmp_path: Path, ports: Ports, new_database: NewDatabase
) -> None:
    """Two addresses of one replica are one voice."""
    async with contextlib.AsyncExitStack() as stack:
        service = chain_service("reporting", tmp_path, network, ports, new_database, (3, 3))
        with pytest.raises(SettingsError, match="1 replicas are named, 2 must say the same"):
            await stack.enter_async_context(service)
