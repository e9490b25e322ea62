"""`guqiao report …`: data objects that the regulatory chain refused, and corrections of others."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.gateway_commands import End
from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

report = typer.Typer(name="report", help="Data objects reported 数据报送", no_args_is_help=True)


class Amendment(StrEnum):
    """What is done to an object that was taken."""

    UPDATE = "update"
    OVERWRITE = "overwrite"
    DELETE = "delete"


Sequence = Annotated[
    int, typer.Argument(min=1, metavar="PACKET", help="Its sequence, as `ls` shows it 数据包序号")
]


@report.command("ls")
def report_ls(
    only_open: Annotated[
        bool, typer.Option("--open", help="Only what was not accepted since 仅未解决的")
    ] = False,
    domain: Annotated[
        End, typer.Option("--domain", help="Whose reporting service 哪一端的报送服务")
    ] = End.MARKET,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """List what the regulatory chain refused, why, and what to do 列出监管链未接收的数据对象."""
    from guqiaoctl.commands.reports import list_refused

    list_refused(data, domain.value, only_open=only_open, as_json=output is Shown.JSON)


@report.command("resubmit")
def report_resubmit(
    packet: Sequence,
    body: Annotated[
        Path | None,
        typer.Option("--body", metavar="FILE", help="The corrected body 改正后的内容文件"),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Send an object again that was refused 重新报送被拒绝的数据对象. Without --body as it was.

    Exit code 3: nothing was refused under that packet.
    """
    from guqiaoctl.commands.reports import resubmit

    resubmit(data, packet, body, as_json=output is Shown.JSON)


@report.command("amend")
def report_amend(
    packet: Sequence,
    operation: Annotated[Amendment, typer.Argument(help="What to do 操作")],
    version: Annotated[int, typer.Option("--version", min=0, help="Of the object 版本号")],
    remark: Annotated[str, typer.Option("--remark", help="Why, for the record 更正原因")],
    body: Annotated[
        Path | None,
        typer.Option("--body", metavar="FILE", help="What to merge, or the whole 内容文件"),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Correct an object that the regulatory chain took under PACKET 更正监管链已接收的数据对象.

    An update is merged as the next version, in which null deletes. An overwrite is the whole body
    of a version that is there, and every later one has to be overwritten after it. A deletion is
    the next version, without a body, and final.
    """
    from guqiaoctl.commands.reports import amend

    step = (operation.value, version, remark)
    amend(data, packet, step, body, as_json=output is Shown.JSON)
