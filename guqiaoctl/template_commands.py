"""`guqiao template …`: what a contract is, in words that a regulator reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

FOLDER: Final = Path("data/templates")

template = typer.Typer(help="Templates of contracts 合约模板", no_args_is_help=True)

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
