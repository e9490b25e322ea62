"""`guqiao contract …`: contracts of star/1 on this machine, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from guqiaoctl.options import DEFAULT_DATA, HEIGHT_MAX, Data, Output, Shown

GAS_DEFAULT: Final = 10_000_000
GAS_MAX: Final = 10_000_000_000
"""More would be hours."""

contract = typer.Typer(help="Contracts of star/1 合约", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(metavar="FILE", help="The contract's source 合约源文件")]
Method = Annotated[str, typer.Option("--method", help="What to call 方法")]
Arguments = Annotated[str, typer.Option("--args", help="A JSON object by name 参数")]
State = Annotated[
    Path | None, typer.Option("--state", help="JSON: each key of the contract, its value 状态文件")
]
Sender = Annotated[str, typer.Option("--sender", help="The maker's DID 经办人")]
SenderRoles = Annotated[
    list[str] | None, typer.Option("--sender-role", help="A role of theirs 经办人角色")
]
Checker = Annotated[str | None, typer.Option("--checker", help="The checker's DID 复核人")]
CheckerRoles = Annotated[
    list[str] | None, typer.Option("--checker-role", help="A role of theirs 复核人角色")
]
Height = Annotated[int, typer.Option("--height", min=0, max=HEIGHT_MAX, help="Block height 高度")]
Time = Annotated[
    str, typer.Option("--time", help="RFC 3339, or milliseconds since 1970 (UTC) 区块和业务时间")
]
Gas = Annotated[int, typer.Option("--gas", min=0, max=GAS_MAX, help="What it may use 计量上限")]

SENDER: Final = "did:rem:local:maker"
TIME: Final = "2026-01-05T10:00:00+08:00"


@contract.command("lint")
def contract_lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Sources 合约源文件")],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Check sources of star/1 检查合约. Exit code 7: one is refused."""
    from guqiaoctl.commands.contracts import lint

    lint(files, as_json=output is Shown.JSON)


@contract.command("run")
def contract_run(
    file: Source,
    method: Method,
    args: Arguments = "{}",
    state: State = None,
    write_state: Annotated[
        bool,
        typer.Option(
            "--write-state", help="Keep the writes in the state file, made if missing 写回状态文件"
        ),
    ] = False,
    sender: Sender = SENDER,
    sender_role: SenderRoles = None,
    checker: Checker = None,
    checker_role: CheckerRoles = None,
    height: Height = 1,
    time: Time = TIME,
    gas: Gas = GAS_DEFAULT,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Call a method, without a network 本地执行. Exit code 5: it said no; 7: refused source.

    Nothing is written but with --write-state, which replaces the state file in one step.
    """
    from guqiaoctl.commands.contracts import Order, run

    order = Order(
        file=file,
        method=method,
        arguments=args,
        state=state,
        sender=(sender, sender_role or []),
        checker=None if checker is None else (checker, checker_role or []),
        height=height,
        time=time,
        gas=gas,
    )
    run(order, write_state=write_state, as_json=output is Shown.JSON)


@contract.command("gas")
def contract_gas(
    file: Source,
    method: Method,
    args: Arguments = "{}",
    state: State = None,
    sender: Sender = SENDER,
    sender_role: SenderRoles = None,
    checker: Checker = None,
    checker_role: CheckerRoles = None,
    height: Height = 1,
    time: Time = TIME,
    gas: Gas = GAS_DEFAULT,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show where the gas of a call goes, by line 按行显示计量. Exit codes as of `run`."""
    from guqiaoctl.commands.contracts import Order, show_gas

    order = Order(
        file=file,
        method=method,
        arguments=args,
        state=state,
        sender=(sender, sender_role or []),
        checker=None if checker is None else (checker, checker_role or []),
        height=height,
        time=time,
        gas=gas,
    )
    show_gas(order, as_json=output is Shown.JSON)
