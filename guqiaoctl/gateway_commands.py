"""`guqiao gateway …`: the links between chains, and what goes over them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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
    TIMED_OUT = "timed_out"


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
    from guqiaoctl.commands.gateways import list_messages

    name = "" if state is None else state.value
    list_messages(data, domain.value, state=name, limit=limit, as_json=output is Shown.JSON)


@gateway.command("send")
def gateway_send(
    to: Annotated[str, typer.Option("--to", help="The chain it is for 接收方的链")],
    content: Annotated[
        Path, typer.Option("--object", metavar="FILE", help="Its content, a JSON object 内容文件")
    ],
    kind: Annotated[str, typer.Option("--type", help="Of the data object 数据对象类型")] = "notice",
    working_days: Annotated[
        int | None, typer.Option("--working-days", min=1, help="To arrive within 期限：工作日")
    ] = None,
    within: Annotated[
        str | None, typer.Option("--within", help="The same, such as 90s, 30m, 12h, 3d 期限：时长")
    ] = None,
    domain: Of = End.MARKET,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Send a message through the regulatory chain 经监管链发送消息. It ends proven: delivered,
    refused or timed out.
    """
    from guqiaoctl.commands.messages import Deadline, send

    deadline = Deadline(working_days, within)
    send(data, domain.value, to, kind, content, deadline, as_json=output is Shown.JSON)


@gateway.command("sent")
def gateway_sent(
    domain: Of = End.MARKET, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """List the messages that a chain sent and how each stands, proven 列出已发送的消息."""
    from guqiaoctl.commands.messages import list_sent

    list_sent(data, domain.value, as_json=output is Shown.JSON)


@gateway.command("inbox")
def gateway_inbox(
    number: Annotated[
        int | None, typer.Option("--show", min=1, help="Only this one, whole 显示一条全文")
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """List the messages that the market's chain received, proven 列出收到的消息.

    Exit code 3: there is no message of that number.
    """
    from guqiaoctl.commands.messages import list_received, show_received

    if number is None:
        list_received(data, as_json=output is Shown.JSON)
    else:
        show_received(data, number)


Reason = Annotated[str, typer.Option("--reason", help="For the record 事由")]


Sender = Annotated[
    str, typer.Option("--sender", metavar="CHAIN", help="Other than the linked one 发送方的链")
]
Port = Annotated[str, typer.Argument(help="Such as market_message 端口")]


@gateway.command("pause")
def gateway_pause(reason: Reason, domain: Of = End.CSRC, data: Data = DEFAULT_DATA) -> None:
    """Let the chain of a domain take and believe nothing of the other one 暂停链路."""
    from guqiaoctl.commands.link_steps import pause

    pause(data, domain.value, reason)


@gateway.command("resume")
def gateway_resume(reason: Reason, domain: Of = End.CSRC, data: Data = DEFAULT_DATA) -> None:
    """Let a paused link go on 恢复链路."""
    from guqiaoctl.commands.link_steps import resume

    resume(data, domain.value, reason)


@gateway.command("breaker")
def gateway_breaker(
    sender: Sender = "",
    domain: Of = End.CSRC,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show per port what a sender brought in this window, its limits, and whether the chain of a
    domain still takes it, proven 查看熔断与限额.
    """
    from guqiaoctl.commands.link_steps import show_breaker

    show_breaker(data, domain.value, sender, as_json=output is Shown.JSON)


@gateway.command("close-breaker")
def gateway_close_breaker(
    port: Port,
    reason: Reason,
    sender: Sender = "",
    domain: Of = End.CSRC,
    data: Data = DEFAULT_DATA,
) -> None:
    """Take packets of a sender at a port again, after unusual volume was looked into 合上熔断."""
    from guqiaoctl.commands.link_steps import close_breaker

    close_breaker(data, domain.value, sender, port, reason)


@gateway.command("set-limits")
def gateway_set_limits(
    port: Port,
    packets: Annotated[int, typer.Option("--packets", min=1, help="At most 数据包上限")],
    mebibytes: Annotated[int, typer.Option("--mebibytes", min=1, help="At most 容量上限")],
    window: Annotated[str, typer.Option("--window", help="In so long, such as 1h 时间窗")] = "1h",
    sender: Sender = "",
    domain: Of = End.CSRC,
    data: Data = DEFAULT_DATA,
) -> None:
    """Set what a sender may bring to a port in a window before its breaker opens 设置限额."""
    from guqiaoctl.commands.link_steps import set_limits

    set_limits(
        data, domain.value, sender, port, packets=packets, mebibytes=mebibytes, window=window
    )


@gateway.command("give-up")
def gateway_give_up(
    packet: Annotated[
        str, typer.Argument(metavar="PORT/SEQUENCE", help="As messages shows it 数据包")
    ],
    reason: Reason,
    to: Annotated[
        str, typer.Option("--to", metavar="CHAIN", help="Other than the linked one 接收方的链")
    ] = "",
    domain: Of = End.CSRC,
    data: Data = DEFAULT_DATA,
) -> None:
    """End a packet of which nothing can be proven, 10 minutes after its deadline 终止数据包.

    Whether it arrived stays unknown, and its sender reads so.
    """
    from guqiaoctl.commands.link_steps import give_up

    give_up(data, domain.value, to, packet, reason)


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
