"""`guqiao restart …` and `guqiao archive …`: what is done to replicas that stand still."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

restart = typer.Typer(
    name="restart",
    help="Restart a chain that lost its quorum 失去法定数后的重启",
    no_args_is_help=True,
)
archive = typer.Typer(name="archive", help="Archives of old segments 归档", no_args_is_help=True)

Archive = Annotated[Path, typer.Argument(help="The archive's folder 归档目录")]
Replica = Annotated[Path, typer.Option("--config", help="The replica's settings file 副本配置")]
Statement = Annotated[Path, typer.Argument(help="The restart's file 重启文件")]
Trusted = Annotated[Path, typer.Option("--trust", help="The trust file 信任文件")]


@restart.command("propose")
def restart_propose(
    config: Annotated[
        list[Path], typer.Option("--config", help="A survivor's settings; all of them 存留副本配置")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why the quorum is lost 事由")],
    to: Annotated[
        Path, typer.Option("--to", help="Write the statement here; - is standard output 重启文件")
    ],
    file: Annotated[
        Path | None, typer.Option("--file", help="members, governors 新副本集文件")
    ] = None,
    replace: Annotated[
        list[str], typer.Option("--replace", help="N=HEX, another vote key of N 更换投票密钥")
    ] = [],  # noqa: B006 - Typer's form of an option that may be repeated
    data: Data = DEFAULT_DATA,
) -> None:
    """Make the statement from the stopped survivors; prints its digest 制作重启声明."""
    from guqiaoctl.commands.restarting import propose

    propose(data, config, file=file, replace_keys=replace, reason=reason, to=to)


@restart.command("approve")
def restart_approve(
    file: Statement,
    signer: Annotated[str, typer.Option("--as", help="csrc, province or an entity's code 签署方")],
    key: Annotated[Path, typer.Option("--key", help="The governance key 治理密钥文件")],
    genesis: Annotated[
        Path | None, typer.Option("--genesis", help="The chain's genesis, for authorities 创世文件")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The entity's own replica 本机构副本配置")
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Add one approval to the file; a key never approves two restarts of an epoch 批准重启."""
    from guqiaoctl.commands.restarting import approve

    approve(file, signer, key, genesis_file=genesis, config=config)


@restart.command("show")
def restart_show(
    file: Statement,
    other: Annotated[
        Path | None, typer.Option("--against", help="Another one: who signed both? 另一份重启文件")
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show from where, with whom, who approved and who has not 查看重启声明."""
    from guqiaoctl.commands.restarting import show

    show(file, other=other, as_json=output is Shown.JSON)


@restart.command("apply")
def restart_apply(file: Statement, config: Replica, data: Data = DEFAULT_DATA) -> None:
    """Let a stopped replica go by the restart; prints the file's digest 使副本采用重启."""
    from guqiaoctl.commands.restarting import apply

    apply(file, config)


@archive.command("create")
def archive_create(
    folder: Archive, config: Replica, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Add a replica's sealed segments; it may run 归档已封存的段文件."""
    from guqiaoctl.commands.archiving import create

    create(config, folder, as_json=output is Shown.JSON)


@archive.command("verify")
def archive_verify(
    folder: Archive, trust: Trusted, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Verify an archive offline 离线验证. Exit code 7: it does not hold; 2: no archive."""
    from guqiaoctl.commands.archiving import verify

    verify(folder, trust, as_json=output is Shown.JSON)


@archive.command("proof")
def archive_proof(
    folder: Archive,
    transaction: str,
    trust: Trusted,
    to: Annotated[
        Path,
        typer.Option("--to", help="Write the proof bundle here; - is standard output 证明文件"),
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """Export the proof bundle of an archived transaction 从归档导出证明."""
    from guqiaoctl.commands.archiving import proof

    proof(folder, transaction, trust, to)


@archive.command("prune")
def archive_prune(
    folder: Archive, config: Replica, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Let a stopped replica read archived segments there 移出已归档的段文件."""
    from guqiaoctl.commands.archiving import prune

    prune(config, folder, as_json=output is Shown.JSON)


@archive.command("restore")
def archive_restore(
    folder: Archive, config: Replica, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Bring archived segments back into a stopped replica 恢复段文件."""
    from guqiaoctl.commands.archiving import restore

    restore(config, folder, as_json=output is Shown.JSON)
