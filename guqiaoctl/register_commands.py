"""`guqiao register …`: the securities register, and its papers that prove themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, HEIGHT_MAX, Data, Format, Output, Shown

register = typer.Typer(name="register", help="The securities register 登记簿", no_args_is_help=True)

Product = Annotated[str, typer.Option("--product", help="Only this product 产品代码")]
AtHeight = Annotated[
    int, typer.Option("--height", min=0, max=HEIGHT_MAX, help="At this height 指定高度")
]
Rows = Annotated[Format, typer.Option("-o", "--output", help="Output format 输出格式")]
Trust = Annotated[Path, typer.Option("--trust", help="The trust file 信任文件")]
Issuer = Annotated[
    str, typer.Option("--issuer", help="SM3 of its issuer's key, if known 签发方公钥摘要")
]


@register.command("roster")
def register_roster(
    data: Data = DEFAULT_DATA,
    product: Product = "",
    height: AtHeight = 0,
    output: Rows = Format.CSV,
) -> None:
    """Print the roster at a height 查询名册."""
    from guqiaoctl.commands.register import roster

    roster(data, product, height, output.value)


@register.command("encumbrances")
def register_encumbrances(
    data: Data = DEFAULT_DATA,
    product: Product = "",
    height: AtHeight = 0,
    output: Rows = Format.CSV,
) -> None:
    """Print the freezes and pledges as at a height 查询冻结与质押."""
    from guqiaoctl.commands.register import encumbrances

    encumbrances(data, product, height, output.value)


@register.command("dividends")
def register_dividends(
    data: Data = DEFAULT_DATA,
    product: Product = "",
    height: AtHeight = 0,
    output: Rows = Format.CSV,
) -> None:
    """Print the payable lists of dividends up to a height 查询分红明细."""
    from guqiaoctl.commands.register import dividends

    dividends(data, product, height, output.value)


@register.command("extract")
def register_extract(
    account: Annotated[str, typer.Option("--account", help="An investor code 账户")],
    product: Annotated[list[str], typer.Option("--product", help="Repeat it for several 产品代码")],
    to: Annotated[Path, typer.Option("--to", help="Write it here; - is standard output 摘录文件")],
    data: Data = DEFAULT_DATA,
    height: AtHeight = 0,
) -> None:
    """Export what an account holds, or that it holds nothing, with proof 导出持有证明."""
    from guqiaoctl.commands.extracts import extract

    extract(data, account, product, height, to)


@register.command("export")
def register_export(
    product: Annotated[str, typer.Argument(help="A product code 产品代码")],
    to: Annotated[Path, typer.Option("--to", help="Make this folder 输出目录")],
    at: Annotated[
        str, typer.Option("--at", help="A height, or a day YYYY-MM-DD at its end 高度或日期")
    ] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Export a product's register as a package that proves itself 导出登记簿交接包."""
    from guqiaoctl.commands.register_export import export

    export(data, product, to, at)


@register.command("verify-export")
def register_verify_export(
    folder: Annotated[Path, typer.Argument(help="The folder of a package 交接包目录")],
    trust: Trust,
    issuer: Issuer = "",
    output: Output = Shown.TABLE,
) -> None:
    """Verify a package offline 离线验证交接包. Exit code 7: it does not hold."""
    from guqiaoctl.commands.register_export import verify_folder

    verify_folder(folder, trust, issuer=issuer, as_json=output is Shown.JSON)


@register.command("certificate")
def register_certificate(
    product: Annotated[str, typer.Argument(help="A product code 产品代码")],
    holder: Annotated[str, typer.Argument(help="An investor code 账户")],
    to: Annotated[Path, typer.Option("--to", help="Write it here; - is standard output 证书文件")],
    page: Annotated[
        Path | None, typer.Option("--page", help="Write an HTML page for a person 证书页面")
    ] = None,
    height: AtHeight = 0,
    data: Data = DEFAULT_DATA,
) -> None:
    """Certify what an account holds of a product, with proof 出具持有证书."""
    from guqiaoctl.commands.certificates import certificate

    certificate(data, product, holder, height, to=to, page=page)
