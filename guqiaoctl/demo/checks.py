"""What the demonstration looks at and waits for: replicas, read models, rosters.

These are what processes say of themselves. What the chains prove is looked at in `anchors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from guqiao.gateway.v1 import gateway_service_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao.registry.v1 import registry_service_pb2
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao.reporting.v1 import reporting_service_pb2
from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceStub
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import GmProvider
from guqiaoctl.commands.register import ROSTER_COLUMNS, fetch_roster, written
from guqiaoctl.demo.failure import DemoError
from guqiaoctl.network.clients import open_identity, open_service
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET, REPLICAS

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceAsyncStub

WAIT_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """Where one replica stands: certified height, header hash and state root."""

    height: int
    header_hash: bytes
    state_root: bytes


async def wait_until(
    what: str, condition: Callable[[], Awaitable[bool]], seconds: float = WAIT_SECONDS_MAX
) -> None:
    """Wait for a condition, for a bounded time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise DemoError(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def current_primary(client: ChainClient) -> int:
    """The replica that is primary now, as the replicas say."""
    status = await client.get_status()
    return int(status.primary)


async def wait_equal_roots(client: ChainClient) -> list[ReplicaState]:
    """Wait until all replicas stand at one height with one state root."""
    states: list[ReplicaState] = []

    async def equal() -> bool:
        answers = await asyncio.gather(
            *(client.get_status(number) for number in range(REPLICAS)), return_exceptions=True
        )
        states.clear()
        for answer in answers:
            if isinstance(answer, BaseException):
                return False
            states.append(ReplicaState(answer.height, answer.header_hash, answer.state_root))
        return len(set(states)) == 1

    await wait_until(f"all replicas of {client.chain_id} at one state root", equal)
    return states


async def wait_anchored(
    network: Network, provider: GmProvider, wanted: int, seconds: float = WAIT_SECONDS_MAX
) -> None:
    """Wait until every operation is anchored and every packet acknowledged on the local chain, for
    registry, gateway and reporting alike: a large object goes in several packets.

    Their read models follow the chain each at its own pace.
    """
    maker = open_identity(network, provider, MARKET, "maker")
    async with (
        open_service(network, provider, maker, MARKET, "gateway") as gateway_channel,
        open_service(network, provider, maker, MARKET, "reporting") as reporting_channel,
        open_service(network, provider, maker, MARKET, "registry") as registry_channel,
    ):
        registry: RegistryServiceAsyncStub = RegistryServiceStub(registry_channel)
        gateway: GatewayServiceAsyncStub = GatewayServiceStub(gateway_channel)
        reporting: ReportingServiceAsyncStub = ReportingServiceStub(reporting_channel)

        async def anchored() -> bool:
            link = await gateway.GetLink(gateway_service_pb2.GetLinkRequest(remote_chain_id=CSRC))
            known = await reporting.GetStatus(reporting_service_pb2.GetStatusRequest())
            operations = await registry.GetStatus(registry_service_pb2.GetStatusRequest())
            whole = link.sent == link.acknowledged == known.objects == known.anchored
            return bool(whole and link.sent >= operations.anchored == wanted)

        await wait_until(f"{wanted} acknowledgements on the local chain", anchored, seconds)


async def roster_csv(network: Network) -> str:
    """The roster at the latest projected height, as market datasets keep it."""
    return written(ROSTER_COLUMNS, (await fetch_roster(network, "", 0)).rows, "csv")
