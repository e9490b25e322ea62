"""`guqiao tx`: a transaction with its outcome, and the proof bundle that shows both to anybody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc.aio

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2, packet_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao.registry.v1 import registry_service_pb2
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao_sdk.client.anchors import verify_anchor
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.packet_messages import packet_of_message
from guqiao_sdk.client.proven import ProvenTransaction
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.transactions import result_from_message
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.bundle import Anchor, Bundle, CertifiedHeader
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import is_final
from guqiao_sdk.proof.transaction import REQUEST_ID
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.register import say_if_behind
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_chain, open_identity, open_service
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say
from guqiaoctl.result_files import whole_file

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


OnAnchor: TypeAlias = Callable[[int, int], object]


def find(data: Path, request_id: str, *, as_json: bool) -> None:
    """Show which transaction a request of the market's operator led to, as the registry says."""
    network = load_network(data)
    with Progress(choose("asking the registry", "查询登记服务")):
        found = guarded(asyncio.run, _find(network, _request_id(request_id)))
    result = result_from_message(found.result)
    _print(
        {
            "transaction": result.transaction_id.hex(),
            "method": found.method,
            "height": result.height,
            "outcome": result.outcome.name,
            "code": result.code,
            "anchored": found.anchored,
            "data_object": found.object_id,
        },
        as_json=as_json,
    )


def get(data: Path, transaction: str, *, as_json: bool) -> None:
    """Show a transaction of the market's chain; everything shown was verified."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        found = guarded(asyncio.run, _fetch(network, transaction_id(transaction)))
    summary: dict[str, Any] = {
        "transaction": found.result.transaction_id.hex(),
        "chain": found.header.chain_id,
        "height": found.result.height,
        "index": found.result.index,
        "outcome": found.result.outcome.name,
        "code": found.result.code,
        "detail": dict(found.result.detail),
        "payload": json.loads(found.transaction.payload),
        "events": [event.topic for event in found.receipt.events],
    }
    _print(summary, as_json=as_json)


def proof(data: Path, transaction: str, to: Path) -> None:
    """Write the proof bundle of a transaction, with its regulatory anchor."""
    network = load_network(data)
    with whole_file(to) as write, Progress(choose("anchors", "存证")) as progress:
        fetched = fetch_bundle(network, transaction_id(transaction), progress.show)
        content = guarded(asyncio.run, fetched).encode()
        write(content)
    say(f"{to}: {len(content)} bytes")


async def fetch_bundle(
    network: Network, transaction_id: bytes, on_anchor: OnAnchor = lambda done, total: None
) -> Bundle:
    """The bundle of a transaction; refuses while its data object is not anchored yet. `on_anchor`
    is told how many anchors have come, of how many.
    """
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        found = await client.get_transaction(transaction_id)
        if not is_final(found.receipt):
            raise _undecided(found.receipt.code)
        packets, anchors = await _fetch_anchors(network, provider, client, found, on_anchor)
    message = found.message
    return Bundle(
        transaction=found.transaction,
        transaction_path=_path(message.transaction_proof),
        receipt=found.receipt,
        receipt_path=_path(message.receipt_proof),
        certified=_certified(client, found),
        packets=tuple(packets),
        anchors=tuple(anchors),
    )


def _certified(client: ChainClient, found: ProvenTransaction) -> CertifiedHeader:
    """With the set changes that lead from the trusted set to the header's epoch."""
    start = client.trust.replica_set
    changes = client.sets.changes_to(found.header.epoch)
    return CertifiedHeader.build(start, found.header, found.certificate, changes)


async def _find(network: Network, request_id: str) -> registry_service_pb2.GetOperationResponse:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_service(network, provider, maker, MARKET, "registry") as channel:
        stub: RegistryServiceAsyncStub = RegistryServiceStub(channel)
        request = registry_service_pb2.GetOperationRequest(request_id=request_id)
        try:
            return await stub.GetOperation(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                status = await stub.GetStatus(registry_service_pb2.GetStatusRequest())
                say_if_behind(status.projected_height, status.chain_height)
            raise


async def _fetch(network: Network, transaction_id: bytes) -> ProvenTransaction:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        return await client.get_transaction(transaction_id)


async def _fetch_anchors(
    network: Network,
    provider: GmProvider,
    client: ChainClient,
    found: ProvenTransaction,
    on_anchor: OnAnchor,
) -> tuple[list[Packet], list[Anchor]]:
    """The packets that the transaction sent and what proves each on the regulatory chain, from the
    gateway.
    """
    packets, anchors = [], []
    sets = SetHistory(load_chain_trust(network.layout.chain_trust(CSRC)), provider.verify)
    count = sum(event.topic == "packet.sent" for event in found.receipt.events)
    async with open_service(network, provider, client.signer, MARKET, "gateway") as channel:
        stub: GatewayServiceAsyncStub = GatewayServiceStub(channel)
        for index in range(count):
            on_anchor(index, count)
            request = gateway_service_pb2.GetPacketRequest(
                transaction_id=found.result.transaction_id, index=index
            )
            response = await stub.GetPacket(request)
            packet = packet_of_message(response.packet)
            packets.append(packet)
            anchors.append(
                verify_anchor(_required(response), packet, response.remote_transaction_id, sets)
            )
    return packets, anchors


def _undecided(code: str) -> CliError:
    return CliError(
        code,
        "it was not executed, so there is no outcome to prove",
        "交易尚未执行，没有可证明的结果",
        f"see `guqiao explain {code}`; prove it once it was executed",
        f"请查看 `guqiao explain {code}`；执行后再导出证明",
        exit_code=EXIT_CONFLICT,
    )


def _required(response: gateway_service_pb2.GetPacketResponse) -> packet_pb2.Anchor:
    if not response.anchor.certified_header.header:
        raise CliError(
            "ANCHOR_MISSING",
            "its data object is not anchored on the regulatory chain yet",
            "其数据对象尚未在监管链存证",
            "try again in some seconds; `guqiao dev status` shows whether the gateways run",
            "请稍后重试；`guqiao dev status` 可查看网关是否运行",
            exit_code=EXIT_CONFLICT,
        )
    return response.anchor


def _path(message: ledger_pb2.ListProof) -> MerklePath:
    return MerklePath(message.index, message.count, tuple(message.path))


def transaction_id(text: str) -> bytes:
    """The id that was printed as this text."""
    try:
        identifier = bytes.fromhex(text)
    except ValueError:
        identifier = b""
    if len(identifier) != 32:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{text!r} is no transaction id",
            f"{text!r} 不是交易编号",
            "give 64 hex digits, as `guqiao tx find` prints them",
            "请给出 `guqiao tx find` 显示的 64 位十六进制数",
            exit_code=EXIT_USAGE,
        )
    return identifier


def _request_id(text: str) -> str:
    identifier = text.strip().lower()
    if REQUEST_ID.fullmatch(identifier) is None:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{text!r} is no request id",
            f"{text!r} 不是请求号",
            "give the UUID of the request, as in 6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            "请给出请求的 UUID，形如 6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            exit_code=EXIT_USAGE,
        )
    return identifier


def _print(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
    else:
        print_table(("FIELD", "VALUE"), [(name, _cell(value)) for name, value in summary.items()])


def _cell(value: Any) -> str:
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
