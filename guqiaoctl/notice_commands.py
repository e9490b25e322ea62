"""`guqiao notice …`: upgrades that a market's operator tells the regulatory side of, and when."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

notice = typer.Typer(name="notice", help="Upgrade notices 升级通知", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Of the notice 通知编号")]
Of = Annotated[str, typer.Option("--chain", help="The chain that is upgraded 被升级的链")]
Reason = Annotated[str, typer.Option("--reason", help="For the record 事由")]
InterfaceFile = Annotated[
    Path, typer.Argument(metavar="INTERFACE", help="Its description in JSON 接口描述文件")
]
Cutover = Annotated[str, typer.Option("--cutover", help="The planned day, YYYY-MM-DD 计划切换日")]
Report = Annotated[Path, typer.Option("--report", help="The report of the test 联调测试报告")]
Documents = Annotated[
    list[str] | None,
    typer.Option("--document", help="NAME=FILE, such as rollback_plan=plan.pdf 升级文档"),
]
CHAIN = "shandong"


class Upgrade(StrEnum):
    """What is upgraded."""

    INTERFACE = "interface"
    INCOMPATIBLE = "incompatible"
    MIGRATION = "migration"
    SECURITY_HOTFIX = "security_hotfix"


Kind = Annotated[
    Upgrade,
    typer.Option(
        "--kind",
        help="A compatible interface, one that breaks, the whole chain, a hole 升级类别",
    ),
]


@notice.command("adopt")
def notice_adopt(
    file: InterfaceFile,
    operator: Annotated[str, typer.Option("--operator", help="Its DID 运营机构")] = "",
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Take down the interface of a chain as the CSRC, before its first notice 登记现行接口."""
    from guqiaoctl.commands.notices import adopt

    adopt(data, chain, file, operator, as_json=output is Shown.JSON)


@notice.command("interface")
def notice_interface(
    chain: Of = CHAIN, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Show the interface in force, proven 查询现行接口. Exit code 5: nobody adopted one.

    -o json prints what `file` takes.
    """
    from guqiaoctl.commands.notices import show_interface

    show_interface(data, chain, as_json=output is Shown.JSON)


@notice.command("diff")
def notice_diff(
    file: InterfaceFile,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Tell what differs from the interface in force, and what of it breaks 与现行接口比较."""
    from guqiaoctl.commands.notices import diff

    diff(data, chain, file, as_json=output is Shown.JSON)


@notice.command("file")
def notice_file(
    file: InterfaceFile,
    kind: Kind,
    cutover: Cutover,
    document: Documents = None,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Give notice of an upgrade as the operator; prints its number 提交升级通知."""
    from guqiaoctl.commands.notices import Filing
    from guqiaoctl.commands.notices import file as file_notice

    filing = Filing(file, kind.value, cutover, document or ())
    file_notice(data, chain, filing, as_json=output is Shown.JSON)


@notice.command("refile")
def notice_refile(
    number: Number,
    file: InterfaceFile,
    kind: Kind,
    cutover: Cutover,
    document: Documents = None,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """File a notice anew to which the CSRC objected 修改后重新提交."""
    from guqiaoctl.commands.notices import Filing
    from guqiaoctl.commands.notices import file as file_notice

    filing = Filing(file, kind.value, cutover, document or ())
    file_notice(data, chain, filing, number=number, as_json=output is Shown.JSON)


@notice.command("ack")
def notice_ack(
    number: Number,
    working_days: Annotated[
        int | None,
        typer.Option("--working-days", min=1, help="Ask for more than the kind needs 工作日数"),
    ] = None,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Acknowledge a notice as the CSRC 确认升级通知."""
    from guqiaoctl.commands.notices import step

    as_json = output is Shown.JSON
    step(data, chain, number, "ack", as_json=as_json, working_days=working_days)


@notice.command("object")
def notice_object(
    number: Number,
    reason: Reason,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Object to a notice as the CSRC 提出异议."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "object", as_json=output is Shown.JSON, reason=reason)


@notice.command("replan")
def notice_replan(
    number: Number,
    cutover: Cutover,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Plan another day as the operator, before the test is passed 调整计划切换日."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "replan", as_json=output is Shown.JSON, planned=cutover)


@notice.command("open-test")
def notice_open_test(
    number: Number, chain: Of = CHAIN, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Open the window of the joint test as the CSRC's technical side 开启联调窗口."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "open_test", as_json=output is Shown.JSON)


@notice.command("pass-test")
def notice_pass_test(
    number: Number,
    report: Report,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Say as the same that the joint test was passed 联调通过."""
    from guqiaoctl.commands.notices import report_digest, step

    digest = report_digest(report)
    step(data, chain, number, "pass_test", as_json=output is Shown.JSON, report=digest)


@notice.command("fail-test")
def notice_fail_test(
    number: Number,
    report: Report,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Say as the same that it was not 联调未通过."""
    from guqiaoctl.commands.notices import report_digest, step

    digest = report_digest(report)
    step(data, chain, number, "fail_test", as_json=output is Shown.JSON, report=digest)


@notice.command("schedule")
def notice_schedule(
    number: Number,
    cutover: Cutover,
    old_until: Annotated[
        str | None,
        typer.Option("--old-until", help="The old format's last day, YYYY-MM-DD 旧格式最后日期"),
    ] = None,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Fix the day of the cut-over as the operator, after the test 确定切换日期."""
    from guqiaoctl.commands.notices import step

    dates = {"planned": cutover, "old_until": old_until}
    step(data, chain, number, "schedule", as_json=output is Shown.JSON, **dates)


@notice.command("open-window")
def notice_open_window(
    number: Number,
    target: Annotated[
        str | None, typer.Option("--target", help="Another chain that takes over 接替的链")
    ] = None,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Begin a migration as the operator, on its day 打开迁移窗口. Exit code 5: not now."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "open_window", as_json=output is Shown.JSON, target=target)


@notice.command("compare")
def notice_compare(
    number: Number,
    before: Annotated[Path, typer.Option("--before", help="Of the chain before 迁移前数据")],
    after: Annotated[Path, typer.Option("--after", help="Of the one after 迁移后数据")],
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Compare the data of a migration as the CSRC's technical side 核对迁移数据.

    Each file is JSON: objects (their count), latest (digest of their latest versions), state.
    """
    from guqiaoctl.commands.notices import figures_in, step

    sides = {"before": figures_in(before), "after": figures_in(after)}
    step(data, chain, number, "compare", as_json=output is Shown.JSON, **sides)


@notice.command("cutover")
def notice_cutover(
    number: Number, chain: Of = CHAIN, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Switch as the operator, from the permitted day on 切换. Exit code 5: not yet."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "cutover", as_json=output is Shown.JSON)


@notice.command("roll-back")
def notice_roll_back(
    number: Number,
    reason: Reason,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Go back to the interface before, as the operator 回退."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "roll_back", as_json=output is Shown.JSON, reason=reason)


@notice.command("verify")
def notice_verify(
    number: Number,
    named: Annotated[
        list[str], typer.Option("--object", help="OBJECT_ID/VERSION, arrived since 数据对象")
    ],
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Name objects in the new format that are good, as the CSRC's technical side 核验新格式."""
    from guqiaoctl.commands.notices import references, step

    objects = references(named)
    step(data, chain, number, "verify", as_json=output is Shown.JSON, objects=objects)


@notice.command("waive")
def notice_waive(
    number: Number,
    reason: Reason,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Waive the working days of a security hotfix as the CSRC 应急豁免提前期."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "waive", as_json=output is Shown.JSON, reason=reason)


@notice.command("review")
def notice_review(
    number: Number,
    report: Annotated[Path, typer.Option("--report", help="Of the review 复核报告")],
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Put down as the CSRC that a waiver was reviewed 事后复核豁免."""
    from guqiaoctl.commands.notices import report_digest, step

    digest = report_digest(report)
    step(data, chain, number, "review", as_json=output is Shown.JSON, report=digest)


@notice.command("close")
def notice_close(
    number: Number, chain: Of = CHAIN, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """End a notice that was verified, as the CSRC 办结."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "close", as_json=output is Shown.JSON)


@notice.command("cancel")
def notice_cancel(
    number: Number,
    reason: Reason,
    chain: Of = CHAIN,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Call an upgrade off as the operator, before its cut-over 取消升级."""
    from guqiaoctl.commands.notices import step

    step(data, chain, number, "cancel", as_json=output is Shown.JSON, reason=reason)


@notice.command("ls")
def notice_ls(chain: Of = CHAIN, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """List the notices of a chain, the latest first, proven 列出升级通知."""
    from guqiaoctl.commands.notices import list_notices

    list_notices(data, chain, as_json=output is Shown.JSON)


@notice.command("show")
def notice_show(
    number: Number, chain: Of = CHAIN, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Show a notice, proven 查询升级通知. Exit code 3: there is none."""
    from guqiaoctl.commands.notices import show

    show(data, chain, number, as_json=output is Shown.JSON)
