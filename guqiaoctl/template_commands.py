"""`guqiao template …`: what a contract is, in words that a regulator reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

FOLDER: Final = Path("data/templates")

template = typer.Typer(
    name="template", help="Templates of contracts 合约模板", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The template's YAML 模板文件")]


@template.command("show")
def template_show(
    file: File,
    svg: Annotated[
        Path | None,
        typer.Option("--svg", help="Write the state diagram; - is standard output 状态图文件"),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show a template to a person; -o json: its canonical form 显示模板. Exit code 7: refused."""
    from guqiaoctl.commands.templates import show

    show(file, svg=svg, as_json=output is Shown.JSON)


@template.command("ls")
def template_ls(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of templates 目录")] = FOLDER,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """List the templates in a folder 列出模板. Exit code 7: one is refused."""
    from guqiaoctl.commands.templates import list_templates

    list_templates(folder, as_json=output is Shown.JSON)


@template.command("check")
def template_check(
    file: File,
    source: Annotated[
        Path | None,
        typer.Option("--source", help="A contract other than the template's own 合约源文件"),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Hold a contract against a template 检查合约是否符合模板. Exit code 7: it does not conform."""
    from guqiaoctl.commands.templates import check

    check(file, source, as_json=output is Shown.JSON)


@template.command("diff")
def template_diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier version 旧版模板")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The later version 新版模板")],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Tell what changes between two versions, and what of it breaks 比较两个版本."""
    from guqiaoctl.commands.templates import diff

    diff(old, new, as_json=output is Shown.JSON)


# --- On the regulatory chain ------------------------------------------------------------------

Id = Annotated[str, typer.Argument(metavar="ID", help="A template, such as transfer 模板编号")]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Of it 版本")]
Reason = Annotated[str, typer.Option("--reason", help="For the record 事由")]


@template.command("publish")
def template_publish(file: File, data: Data = DEFAULT_DATA) -> None:
    """Publish a COMMON template as the CSRC 发布市场共性模板."""
    from guqiaoctl.commands.template_filing import publish

    publish(data, file)


@template.command("file")
def template_file(
    file: File,
    tests: Annotated[Path, typer.Option("--tests", help="The report of its tests 测试报告")],
    risk_review: Annotated[
        Path, typer.Option("--risk-review", help="The review of its risks 风险论证报告")
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """Define an operator's own template, and file it with the CSRC 备案自行定义的模板."""
    from guqiaoctl.commands.template_filing import file as file_template

    file_template(data, file, tests=tests, risk_review=risk_review)


@template.command("accept")
def template_accept(
    identifier: Id,
    version: Version,
    number: Annotated[str, typer.Option("--number", help="The filing number 备案号")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Accept a filing as the CSRC, under a number 接受备案."""
    from guqiaoctl.commands.template_filing import act

    act(data, "accept", identifier, version, filing_number=number)


@template.command("give-back")
def template_give_back(
    identifier: Id, version: Version, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """Give a filing back as the CSRC 退回备案."""
    from guqiaoctl.commands.template_filing import act

    act(data, "give_back", identifier, version, reason=reason)


@template.command("retire")
def template_retire(
    identifier: Id, version: Version, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """End a COMMON template as the CSRC 废止市场共性模板."""
    from guqiaoctl.commands.template_filing import act

    act(data, "retire", identifier, version, reason=reason)


@template.command("withdraw")
def template_withdraw(
    identifier: Id, version: Version, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """End an operator's own template 撤回自行定义的模板."""
    from guqiaoctl.commands.template_filing import act

    act(data, "withdraw", identifier, version, reason=reason)


@template.command("status")
def template_status(
    identifier: Id, version: Version, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Show where a version is in its life, proven 查询模板状态. Exit code 3: there is none."""
    from guqiaoctl.commands.template_filing import status

    status(data, identifier, version, as_json=output is Shown.JSON)
