"""`guqiao gateway`: how a link stands, which packets went over it, and which were set aside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1 import packet_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.rules import catalogue
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.verifying import time_text
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_identity, open_service
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

T = TypeVar("T")

REMOTE: Final = {MARKET: CSRC, CSRC: MARKET}
STAFF: Final = {MARKET: "maker", CSRC: "admin"}
"""The account that asks each domain's gateway."""
PAGE_SIZE: Final = 500
EVERY: Final = 10**9
LINK: Final = (
    *("sent", "acknowledged", "timed_out", "received", "parked", "height", "last_error"),
)
OBSERVED: Final = (
    *("chain_id", "status", "generation", "height", "recorded_height", "last_error"),
)
_NODE_STATE: Final = "OBSERVED_NODE_STATE_"
COLUMNS: Final = (
    "packet",
    "state",
    "height",
    "transaction",
    "remote_transaction",
    "refused_code",
    "parked_cause",
)


def status(data: Path, domain: str, *, as_json: bool) -> None:
    """Show how far a link has come."""
    remote = REMOTE[domain]

    async def ask(
        stub: GatewayServiceAsyncStub,
    ) -> tuple[pb.GetLinkResponse, pb.ListObservedChainsResponse]:
        link = await stub.GetLink(pb.GetLinkRequest(remote_chain_id=remote))
        if domain != CSRC:  # A market observes no chain.
            return link, pb.ListObservedChainsResponse()
        return link, await stub.ListObservedChains(pb.ListObservedChainsRequest())

    link, observed = _asked(data, domain, ask)
    chains = [_observed(each) for each in observed.chains]
    told: dict[str, Any] = {"chain": domain, "remote": remote}
    told |= {name: getattr(link, name) for name in LINK}
    lists = [
        {
            "authority": each.authority,
            "number": each.number,
            "ends": time_text(each.next_update_ms),
            "ends_soon": each.ends_soon,
        }
        for each in link.revocation_lists
    ]
    held = _light_client(link) if link.HasField("light_client") else None
    if as_json:
        print_json({**told, "light_client": held, "revocation_lists": lists, "observed": chains})
        return
    rows = [(name, shown(str(value)) or "-") for name, value in told.items()]
    if held is not None:
        rows.append((choose("light client", "轻客户端"), _light_client_text(held)))
    rows += [
        (choose("revocation list", "吊销列表"), f"{each['authority']} {each['ends']}")
        for each in lists
    ]
    print_table((choose("LINK", "链路"), ""), rows)
    _print_observed(chains)
    if held is not None and held["code"]:
        _say_rule(str(held["code"]))
    if any(each["ends_soon"] for each in lists):
        _say_rule("CRL_ENDS_SOON")


def _light_client(link: pb.GetLinkResponse) -> dict[str, Any]:
    held = link.light_client
    return {
        "height": held.height,
        "header_hash": held.header_hash.hex(),
        "block_time": time_text(held.block_time_ms) if held.height else "",
        "age_seconds": held.age_seconds,
        "period_seconds": held.period_seconds,
        "code": held.code,
    }


def _light_client_text(held: dict[str, Any]) -> str:
    height, age, period = (held[name] for name in ("height", "age_seconds", "period_seconds"))
    if not height:
        return choose(f"no header yet (period {period} s)", f"尚无区块头（信任期 {period} 秒）")
    return choose(
        f"height {height} of {held['block_time']}, age {age} s of a period of {period} s,"
        f" header {held['header_hash']}",
        f"高度 {height}（{held['block_time']}），已 {age} 秒，信任期 {period} 秒，"
        f"区块头 {held['header_hash']}",
    )


def _say_rule(code: str) -> None:
    """What the catalogue says of a code; one that it does not know, of a later gateway, alone."""
    texts = catalogue().get(code)
    if texts is None:
        say(shown(code))
        return
    say(
        choose(
            f"{code}: {texts.text_en} {texts.remedy_en}",
            f"{code}：{texts.text_zh}{texts.remedy_zh}",
        )
    )


def _observed(chain: pb.ObservedChain) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(chain, name) for name in OBSERVED}
    nodes = [
        {
            "name": each.name,
            "state": pb.ObservedNodeState.Name(each.state).removeprefix(_NODE_STATE).lower(),
            "height": each.height,
            "detail": each.detail,
        }
        for each in chain.nodes
    ]
    return {**told, "header_hash": chain.header_hash.hex(), "nodes": nodes}


def _print_observed(chains: Sequence[dict[str, Any]]) -> None:
    for chain in chains:
        rows = [(name, shown(str(chain[name])) or "-") for name in (*OBSERVED, "header_hash")]
        rows += [
            (
                f"{choose('node', '节点')} {shown(each['name'])}",
                shown(f"{each['state']} {each['height']} {each['detail']}".strip()),
            )
            for each in chain["nodes"]
        ]
        print_table((choose("OBSERVED CHAIN", "被观察链"), ""), rows)


def list_messages(data: Path, domain: str, *, state: str, limit: int, as_json: bool) -> None:
    """List packets that a chain sent, at most `limit` from the first on."""
    wanted = packet_pb2.PacketState.Value(f"PACKET_STATE_{state.upper() or 'UNSPECIFIED'}")
    _print(_listed(data, domain, limit, state=wanted), as_json=as_json)


def list_parked(data: Path, domain: str, *, as_json: bool) -> None:
    """List those that are set aside."""
    _print(_listed(data, domain, EVERY, parked=True), as_json=as_json)


def replay(data: Path, domain: str, packet: str) -> None:
    """Let a packet be delivered again."""
    port, sequence = packet_named(packet)
    request = pb.ResumePacketRequest(remote_chain_id=REMOTE[domain], port=port, sequence=sequence)

    async def ask(stub: GatewayServiceAsyncStub) -> pb.ResumePacketResponse:
        return await stub.ResumePacket(request)

    _asked(data, domain, ask)
    say(choose(f"{packet}: will be delivered again", f"{packet}：将重新投递"))


def packet_named(packet: str) -> tuple[str, int]:
    """Port and sequence of PORT/SEQUENCE; raises `CliError`."""
    port, _, sequence = packet.rpartition("/")
    if not port or not (sequence.isascii() and sequence.isdigit()) or len(sequence) > 16:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{shown(packet[:64])} is not of the form PORT/SEQUENCE",
            f"{shown(packet[:64])} 不是“端口/序号”的形式",
            "give it as `guqiao gateway parked ls` shows it",
            "请按 `guqiao gateway parked ls` 的显示填写",
            exit_code=EXIT_USAGE,
        )
    return port, int(sequence)


def _listed(
    data: Path, domain: str, limit: int, *, state: int = 0, parked: bool = False
) -> list[dict[str, Any]]:
    async def ask(stub: GatewayServiceAsyncStub) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        request = pb.ListPacketsRequest(remote_chain_id=REMOTE[domain], parked=parked)
        request.state = packet_pb2.PacketState.ValueType(state)
        while True:
            request.page_size = min(PAGE_SIZE, limit - len(found))
            page = await stub.ListPackets(request)
            found += map(_row, page.packets)
            progress.show(len(found))
            if not page.has_more or len(found) >= limit:
                return found
            last = page.packets[-1]
            request.after_port, request.after_sequence = last.port, last.sequence

    with Progress(choose("packets", "数据包")) as progress:
        return _asked(data, domain, ask)


def _row(packet: pb.PacketSummary) -> dict[str, Any]:
    state = packet_pb2.PacketState.Name(packet.state)
    return {
        "packet": f"{packet.port}/{packet.sequence}",
        "state": state.removeprefix("PACKET_STATE_").lower(),
        "height": packet.height,
        "transaction": packet.transaction_id.hex(),
        "remote_transaction": packet.remote_transaction_id.hex(),
        "refused_code": packet.refused_code,
        "parked_cause": packet.parked_cause,
    }


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"packets": rows})
        return
    titles = [name.upper().replace("_", " ") for name in COLUMNS]
    print_table(titles, [[shown(str(row[name])) or "-" for name in COLUMNS] for row in rows])


def _asked(data: Path, domain: str, ask: Callable[[GatewayServiceAsyncStub], Awaitable[T]]) -> T:
    network = load_network(data)

    async def run() -> T:
        async with _gateway(network, domain) as stub:
            return await ask(stub)

    return guarded(asyncio.run, run())


@asynccontextmanager
async def _gateway(network: Network, domain: str) -> AsyncIterator[GatewayServiceAsyncStub]:
    provider = open_provider()
    identity = open_identity(network, provider, domain, STAFF[domain])
    async with open_service(network, provider, identity, domain, "gateway") as channel:
        yield GatewayServiceStub(channel)
