"""What the demonstration looks at: chains, anchoring, rosters.

Everything shown is verified by the client that asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections import Counter
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
from guqiao_sdk.proof.data_object import data_object_digest
from guqiaoctl.commands.register import fetch_roster, write_csv
from guqiaoctl.network.clients import open_chain, open_identity, open_service
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET, REPLICAS

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceAsyncStub

WAIT_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.2
PAGE_SIZE: Final = 1_000


class DemoError(Exception):
    """Something that the demonstration promises does not hold."""


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


async def count_anchored(network: Network, provider: GmProvider) -> int:
    """Data objects on the regulatory chain, each compared with the market's own and proven there.

    For every object that the market sent: its record is read from the regulatory chain's state
    under a certified header with a state proof, and must hold the same object, digest and source
    transaction. And of the regulatory chain's own blocks, all of them: they recorded these objects,
    each once, and no other.
    """
    supervisor = open_identity(network, provider, CSRC, "supervisor")
    sent = await _market_objects(network, provider)
    async with open_chain(network, provider, CSRC, supervisor) as client:
        height = (await client.latest()).height
        for object_id, (version, digest, transaction_id) in sent.items():
            proven = await client.get_state_proof(f"objects/{object_id}/{version}", height)
            if proven.value is None:
                raise DemoError(f"{object_id} is not on the regulatory chain")
            record = json.loads(proven.value)
            if (
                data_object_digest(record["object"]) != digest
                or record["transaction_id"] != transaction_id.hex()
                or record["source"] != MARKET
            ):
                raise DemoError(f"{object_id} is on the regulatory chain with another content")
        recorded = await _recorded_objects(client, height)
    if twice := [object_id for (object_id, _), times in recorded.items() if times > 1]:
        raise DemoError(f"the regulatory chain recorded {twice[0]} more than once")
    if others := recorded.keys() - {(key, version) for key, (version, _, _) in sent.items()}:
        raise DemoError(f"the regulatory chain recorded {min(others)[0]}, which nobody sent")
    return len(sent)


async def _recorded_objects(client: ChainClient, height: int) -> Counter[tuple[str, int]]:
    """How often each version of an object was recorded, by the events of all verified blocks."""
    found: Counter[tuple[str, int]] = Counter()
    async with contextlib.aclosing(client.watch_blocks(1)) as blocks:
        async for block in blocks:
            for receipt in block.receipts:
                for event in receipt.events:
                    if event.topic == "object.recorded":
                        body = json.loads(event.body)
                        found[body["object_id"], body["version"]] += 1
            if block.height >= height:
                break
    return found


async def roster_csv(network: Network) -> str:
    """The roster at the latest projected height, as market datasets keep it."""
    text = io.StringIO()
    write_csv(await fetch_roster(network, "", 0), text)
    return text.getvalue()


async def some_transfer(network: Network, provider: GmProvider, client: ChainClient) -> bytes:
    """The transaction of the first transfer that the market anchored."""
    objects = await _market_objects(network, provider)
    for object_id, (_, _, transaction_id) in objects.items():
        if ":registration:" in object_id and await _is_transfer(client, transaction_id):
            return transaction_id
    raise DemoError("the market anchored no transfer")


async def _is_transfer(client: ChainClient, transaction_id: bytes) -> bool:
    found = await client.get_transaction(transaction_id)
    return any(event.topic == "register.transfer_recorded" for event in found.receipt.events)


async def _market_objects(
    network: Network, provider: GmProvider
) -> dict[str, tuple[int, bytes, bytes]]:
    """Version, digest and source transaction of every object that the market sent, by id."""
    maker = open_identity(network, provider, MARKET, "maker")
    found: dict[str, tuple[int, bytes, bytes]] = {}
    async with open_service(network, provider, maker, MARKET, "reporting") as channel:
        stub: ReportingServiceAsyncStub = ReportingServiceStub(channel)
        request = reporting_service_pb2.ListDataObjectsRequest(page_size=PAGE_SIZE)
        while True:
            page = await stub.ListDataObjects(request)
            for item in page.objects:
                if not item.provenance.anchored:
                    raise DemoError(f"{item.object_id} has no acknowledgement on the local chain")
                source = item.provenance
                found[item.object_id] = (
                    item.version,
                    source.digest,
                    source.source_transaction_id,
                )
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token
