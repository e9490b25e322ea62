"""`guqiao trust …`: the TRUST file, which is all that an offline verification believes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

trust = typer.Typer(
    name="trust", help="What offline verification believes 信任文件", no_args_is_help=True
)

File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="By default the network's own 信任文件，默认为本网络的"),
]


@trust.command("show")
def trust_show(
    file: File = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", help="SM3 of the key it must be signed with 签发方")
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show whom a TRUST file believes, from which heights 查看信任文件. Exit code 7: not good."""
    from guqiaoctl.commands.trusting import show

    show(data, file, issuer, as_json=output is Shown.JSON)


@trust.command("renew")
def trust_renew(
    file: File = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Another file instead of the same 另存为")
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Renew it from the network's chains, proven from what it says, as its issuer 更新信任文件.

    Exit code 7: a chain shows what the file excludes, and nothing is written.
    """
    from guqiaoctl.commands.trusting import renew

    renew(data, file, out, as_json=output is Shown.JSON)
