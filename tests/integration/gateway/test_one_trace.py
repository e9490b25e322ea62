"""One operation is one trace: through the registry, a replica, the bus, both gateways and the
regulatory chain, found in the span files of separate processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao_sdk.client.transactions import result_from_message, transaction_to_message
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiaoctl.commands.importing import DEMO_DATA, _Importer
from guqiaoctl.network.clients import open_chain, open_identity, open_service
from guqiaoctl.network.layout import Network
from tests.plugins.one_machine import command, one_machine, spans
from tests.plugins.service_lab import wait_until

if TYPE_CHECKING:
    pass


pytestmark = [pytest.mark.end_to_end]


@pytest.mark.req("G2-19-3")
async def test_an_operation_is_one_trace_from_the_registry_to_the_regulatory_chain(
    tmp_path: Path,
) -> None:
    """Goal: follow one operation without a collector. Method: the regulator's gateway is down while
    the operation is submitted and its trace announced; then it starts, and takes the packet."""
    async with one_machine(tmp_path / "network") as network:
        await command(network, "stop", "csrc-gateway")
        transaction_id = await submit_one(network)
        await wait_noted(network, transaction_id)
        await command(network, "start", "csrc-gateway")
        found = await wait_trace(network)

    registry, replica, deliver, csrc_gateway, csrc_replica, projected = found
    assert registry["service"] == "registry"
    assert replica["parent_span_id"] is not None
    assert deliver["service"] == "gateway"
    assert deliver["domain"] == "shandong"
    assert deliver["parent_span_id"] == registry["span_id"]
    assert (csrc_gateway["service"], csrc_gateway["domain"]) == ("gateway", "csrc")
    assert csrc_replica["domain"] == "csrc"
    assert projected["attributes"]["height"] >= 1


async def submit_one(network: Network) -> bytes:
    """A company registered through the registry, with the reference data before it."""
    provider = open_provider()
    dataset = read_dataset(DEMO_DATA)
    assert isinstance(dataset, MarketDataset)
    async with _Importer.open(network, provider) as importer:
        await importer.put_reference_data(dataset)
    maker = open_identity(network, provider, "shandong", "maker")
    event = next(event for event in dataset.events if event.type == "register_company")
    async with (
        open_chain(network, provider, "shandong", maker) as client,
        open_service(network, provider, maker, "shandong", "registry") as channel,
    ):
        transaction = await client.build(
            "register",
            event.type,
            event.body,
            request_id=str(uuid4()),
            business_time=event.time,
        )
        message = transaction_to_message(transaction)
        answer = await RegistryServiceStub(channel).SubmitOperation(
            pb.SubmitOperationRequest(transaction=message)
        )
    assert result_from_message(answer.result).accepted
    return transaction.id()


async def wait_noted(network: Network, transaction_id: bytes) -> None:
    """Until the market's gateway knows the operation's trace and packet."""
    settings = network.layout.process("shandong-gateway") / "settings.toml"
    lines = settings.read_text(encoding="utf-8").split("[postgres]\n", 1)[1].splitlines()
    url = lines[0].partition("= ")[2].strip('"')
    connection = await asyncpg.connect(url)
    try:

        async def noted() -> bool:
            return bool(
                await connection.fetchval(
                    """
                    SELECT true FROM operation_traces JOIN packets_sent USING (transaction_id)
                    WHERE transaction_id = $1
                    """,
                    transaction_id,
                )
            )

        await wait_until("the operation's trace and packet are noted", noted)
    finally:
        await connection.close()


async def wait_trace(network: Network) -> list[dict[str, Any]]:
    """The trace's spans in the order of the journey, once all are written."""
    found: list[dict[str, Any]] = []

    async def complete() -> bool:
        found.clear()
        submitted = named(network, ["shandong-registry"], "SubmitOperation")
        if not submitted:
            return False
        trace = submitted[-1]["trace_id"]
        replicas = [f"shandong-{number}" for number in range(4)]
        csrc_replicas = [f"csrc-{number}" for number in range(4)]
        steps = [
            (["shandong-registry"], "SubmitOperation"),
            (replicas, "SubmitTransaction"),
            (["shandong-gateway"], "gateway.deliver_packets"),
            (["csrc-gateway"], "DeliverPackets"),
            (csrc_replicas, "SubmitTransaction"),
        ]
        for processes, name in steps:
            of_trace = [s for s in named(network, processes, name) if s["trace_id"] == trace]
            if not of_trace:
                return False
            found.append(of_trace[0])
        blocks = named(network, ["csrc-reporting"], "consensus.block.v1 process")
        found.extend(blocks[:1])
        return bool(blocks)

    await wait_until("one trace id in all the span files", complete)
    return found


def named(network: Network, processes: list[str], name: str) -> list[dict[str, Any]]:
    """The server or internal spans with this end of their name, of these processes."""
    return [
        span
        for process in processes
        for span in spans(network, process)
        if span["name"].endswith(name) and span["kind"] != "CLIENT"
    ]
