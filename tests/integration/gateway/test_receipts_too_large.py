"""A receipt that is by itself above a limit is set aside with its code; nothing waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao_sdk.errors import ErrorFacts, ExhaustedError
from guqiao_sdk.proof.packet import Deadline
from services.chassis.errors import ServiceError, TooLargeError
from services.chassis.grpc_server import Policy
from services.consensus.domain.contracts.packet_link import settling
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.gateway import handlers as gateway_handlers
from services.gateway.api import POLICIES
from services.gateway.app import channel_to
from services.gateway.domain.errors import ReceiptTooLargeError
from services.gateway.handlers import submit_proven
from services.gateway.questions import CalledGateway
from services.gateway.settings import RemoteSettings
from tests.integration.gateway.senders import ACKNOWLEDGED, RECEIVED, send
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab

pytestmark = pytest.mark.req("N0-07", "G2-16-4")

OBJECTS = "data_object"
CODE = "RECEIPT_TOO_LARGE"
ANSWER_BYTES_MAX = 2 * 1024
"""Less than one receipt with its proofs takes, more than a refusal."""


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    monkeypatch.setattr(settling, "SENDERS", {})  # Another contract sends here: nobody hears.
    small = Policy(frozenset({"peer_gateway"}), message_bytes_max=ANSWER_BYTES_MAX)
    monkeypatch.setitem(POLICIES, "/guqiao.gateway.v1.GatewayService/AnswerCall", small)
    async with open_link(new_database, packets_version=3) as opened:
        yield opened


def alarms(lab: Lab, remote: str) -> float:
    labels = {"remote": remote, "code": CODE}
    registry = lab.runtime.telemetry.metrics.registry
    return registry.get_sample_value("guqiao_gateway_alarms_total", labels) or 0.0


class LargeFirst:
    """The other gateway, whose answer about the first packet is above the limit of a message."""

    def __init__(self, real: CalledGateway) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def get_packet_receipts(
        self, request: pb.GetPacketReceiptsRequest
    ) -> pb.GetPacketReceiptsResponse:
        if 1 in request.sequences:
            raise ExhaustedError(ErrorFacts(code="REQUEST_TOO_LARGE", message="-"))
        return await self._real.get_packet_receipts(request)


async def test_a_receipt_that_cannot_be_brought_back_at_all_is_set_aside_with_an_alarm(
    link: LinkLab,
) -> None:
    send(link.regulator, link.market, Deadline(height=10**6), port=DELIVERY)
    await link.project()
    assert await link.back.deliver_some() == 1
    await link.project()
    with pytest.raises(ReceiptTooLargeError) as refused:
        await link.back.acknowledge_some()
    facts = {"port": DELIVERY, "sequence": 1, "cause": "REQUEST_TOO_LARGE"}
    assert refused.value.fields == facts
    [row] = await link.regulator.rows("packets_sent", "sequence")
    assert row["state"] == RECEIVED
    assert row["parked_cause"].startswith(f"{CODE}: ")
    assert alarms(link.regulator, "shandong") == 1
    assert await link.back.acknowledge_some() == 0, "it is not asked for again"
    await link.regulator_handlers.resume_packet("shandong", DELIVERY, 1)
    with pytest.raises(ReceiptTooLargeError):
        await link.back.acknowledge_some()


async def test_those_behind_it_go_on_in_their_order_and_a_replay_brings_it_home(
    link: LinkLab,
) -> None:
    """It was delivered: nothing behind it has to wait."""
    real = link.called
    link.relay.gateway = LargeFirst(real)
    link.report(3)
    async with link.at_work():
        await link.wait_states(lambda: [RECEIVED, ACKNOWLEDGED, ACKNOWLEDGED])
        link.report(2)
        await link.wait_states(lambda: [RECEIVED] + [ACKNOWLEDGED] * 4)
        assert alarms(link.market, "csrc") == 1
        link.relay.gateway = real
        await link.market_handlers.resume_packet("csrc", OBJECTS, 1)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 5)
    assert link.recorded() == link.acknowledged() == 5


async def test_a_receipt_above_the_limit_of_a_transaction_is_set_aside_and_no_other_refusal_is(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that is full today is not full tomorrow."""
    link.report(1)
    await link.project()
    assert await link.relay.deliver_some() == 1
    await link.project()
    code = "BLOCK_FULL"

    async def refuse(client: Any, header: Any, method: str, body: Any) -> Any:
        if method == "acknowledge":
            raise TooLargeError(code)
        return await submit_proven(client, header, method, body)

    monkeypatch.setattr("services.gateway.relay.submit_proven", refuse)
    with pytest.raises(ServiceError) as full:
        await link.relay.acknowledge_some()
    assert full.value.code == "BLOCK_FULL"
    code = "TRANSACTION_TOO_LARGE"
    with pytest.raises(ReceiptTooLargeError) as refused:
        await link.relay.acknowledge_some()
    assert refused.value.fields["cause"] == code
    assert await link.relay.acknowledge_some() == 0


async def test_the_remedy_helps_the_settings_say_how_large_an_answer_may_be(link: LinkLab) -> None:
    link.report(1)
    await link.project()
    assert await link.relay.deliver_some() == 1
    await link.project()
    runtime = link.market.runtime
    remote = RemoteSettings(
        chain_id="csrc",
        domain="csrc",
        trust_file=Path("unused"),
        route_port=link.port,
        tunnel_address="127.0.0.1:1",
        expected_peer="gateway.csrc.example",
        organisation="unused",
    )
    grpc_settings = runtime.settings.grpc.model_copy(update={"message_bytes_max": ANSWER_BYTES_MAX})
    small = replace(runtime, settings=runtime.settings.model_copy(update={"grpc": grpc_settings}))
    async with channel_to(small, remote) as narrow, channel_to(runtime, remote) as wide:
        link.relay.gateway = CalledGateway(GatewayServiceStub(narrow))
        with pytest.raises(ReceiptTooLargeError):
            await link.relay.acknowledge_some()
        await link.market_handlers.resume_packet("csrc", OBJECTS, 1)
        link.relay.gateway = CalledGateway(GatewayServiceStub(wide))
        assert await link.relay.acknowledge_some() == 1
