"""`guqiao observed …`: a chain that is not ours, read from outside and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, HEIGHT_MAX, Data, Output, Shown

observed = typer.Typer(
    name="observed",
    help="A FISCO BCOS 3 chain, read from outside 读取外部 FISCO BCOS 3 链",
    no_args_is_help=True,
)

Checkpoint = Annotated[
    Path, typer.Option("--checkpoint", help="From where it is believed 检查点文件")
]
Nodes = Annotated[
    list[str], typer.Option("--node", help="http(s)://HOST:PORT, repeatable 节点地址，可重复")
]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="Who signs the nodes' TLS certificates 节点证书的签发方")
]


@observed.command("status")
def observed_status(
    checkpoint: Checkpoint, node: Nodes, ca: Authority = None, output: Output = Shown.TABLE
) -> None:
    """Tell where a node says that it stands; not proven 节点自称的状态（未经证明）."""
    from guqiaoctl.commands.observed import status

    status(checkpoint, node, ca, as_json=output is Shown.JSON)


@observed.command("header")
def observed_header(
    checkpoint: Checkpoint,
    node: Nodes,
    height: Annotated[
        int, typer.Option("--height", min=0, max=HEIGHT_MAX, help="0: the latest 高度，0 为最新")
    ] = 0,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the checkpoint after it 另存新检查点")
    ] = None,
    ca: Authority = None,
    output: Output = Shown.TABLE,
) -> None:
    """Verify a header and list its transactions 核验区块头. Exit code 7: it does not hold."""
    from guqiaoctl.commands.observed import header

    header(checkpoint, node, ca, height=height, save=save, as_json=output is Shown.JSON)


@observed.command("transaction")
def observed_transaction(
    name: Annotated[str, typer.Argument(metavar="HASH", help="64 hex digits 交易哈希")],
    checkpoint: Checkpoint,
    node: Nodes,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write a bundle for `guqiao verify` 另存证明文件")
    ] = None,
    ca: Authority = None,
    output: Output = Shown.TABLE,
) -> None:
    """Verify a transaction and what came of it 核验交易及其回执. Exit code 7: it does not hold."""
    from guqiaoctl.commands.observed import transaction

    transaction(name, checkpoint, node, ca, to=to, as_json=output is Shown.JSON)


@observed.command("trust")
def observed_trust(
    checkpoint: Annotated[
        Path, typer.Argument(help="The checkpoint that was looked at 检查点文件")
    ],
    until: Annotated[
        str, typer.Option("--until", help="The last day, YYYY-MM-DD, within 366 days 有效期末日")
    ],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Vouch for a chain as the TRUST file's issuer, or renew that 在信任文件中担保或续期."""
    from guqiaoctl.commands.observed_trust import vouch

    vouch(data, checkpoint, until, as_json=output is Shown.JSON)


# --- What the regulatory chain records ------------------------------------------------------------

Chain = Annotated[str, typer.Argument(metavar="CHAIN", help="Its id in the register 链标识")]
Given = Annotated[Path, typer.Option("--checkpoint", help="From where it is believed 检查点文件")]


@observed.command("begin")
def observed_begin(chain: Chain, checkpoint: Given, data: Data = DEFAULT_DATA) -> None:
    """Let the regulatory chain record a chain, as both sides of the CSRC 开始观察."""
    from guqiaoctl.commands.observed_recording import decide

    decide(data, "begin", chain, checkpoint)


@observed.command("consent")
def observed_consent(chain: Chain, checkpoint: Given, data: Data = DEFAULT_DATA) -> None:
    """Consent to a new checkpoint, as the province 省级同意更换检查点."""
    from guqiaoctl.commands.observed_recording import decide

    decide(data, "consent", chain, checkpoint)


@observed.command("replace")
def observed_replace(chain: Chain, checkpoint: Given, data: Data = DEFAULT_DATA) -> None:
    """Go on from a new checkpoint, as both sides of the CSRC 更换检查点."""
    from guqiaoctl.commands.observed_recording import decide

    decide(data, "replace", chain, checkpoint)


@observed.command("recorded")
def observed_recorded(
    chain: Chain,
    height: Annotated[
        int, typer.Option("--height", min=0, max=HEIGHT_MAX, help="0: the latest 高度，0 为最新")
    ] = 0,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show what the regulatory chain has recorded of a chain, proven 监管链上的记录."""
    from guqiaoctl.commands.observed_recording import recorded

    recorded(data, chain, height, as_json=output is Shown.JSON)
