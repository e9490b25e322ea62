"""`guqiao gateway …`: the links between chains, and what goes over them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

gateway = typer.Typer(name="gateway", help="Links between chains 跨链网关", no_args_is_help=True)
parked = typer.Typer(name="parked", help="Packets set aside 搁置的数据包", no_args_is_help=True)
gateway.add_typer(parked)


class End(StrEnum):
    """Whose gateway is asked."""

    MARKET = "shandong"
    CSRC = "csrc"


class State(StrEnum):
    """Where a packet stands."""

    SENT = "sent"
    RECEIVED = "received"
    ACKNOWLEDGED = "acknowledged"


Of = Annotated[End, typer.Option("--domain", help="Whose gateway 哪一端的网关")]


@gateway.command("status")
def gateway_status(
    domain: Of = End.MARKET, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Show how far the link of a gateway has come 查看链路状态."""
    from guqiaoctl.commands.gateways import status

    status(data, domain.value, as_json=output is Shown.JSON)


@gateway.command("messages")
def gateway_messages(
    state: Annotated[State | None, typer.Option("--state", help="Only these 状态")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000)] = 1_000,
    domain: Of = End.MARKET,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """List the packets that a chain sent, in order 列出已发送的数据包."""
    from guqiaoctl.commands.gateways import messages

    name = "" if state is None else state.value
    messages(data, domain.value, state=name, limit=limit, as_json=output is Shown.JSON)


@parked.command("ls")
def parked_ls(
    domain: Of = End.MARKET, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """List the packets that the other chain refused for good, with the causes 列出搁置的数据包."""
    from guqiaoctl.commands.gateways import list_parked

    list_parked(data, domain.value, as_json=output is Shown.JSON)


@parked.command("replay")
def parked_replay(
    packet: Annotated[str, typer.Argument(metavar="PORT/SEQUENCE", help="As ls shows it 数据包")],
    domain: Of = End.MARKET,
    data: Data = DEFAULT_DATA,
) -> None:
    """Let one be delivered again, and those behind it 重新投递. Exit code 3: it is not parked."""
    from guqiaoctl.commands.gateways import replay

    replay(data, domain.value, packet)
