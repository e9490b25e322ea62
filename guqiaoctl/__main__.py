"""`guqiao`: the command line. Noun, then verb; data on standard output, progress on standard error.

Commands import what they need when they run, so that help is instant.
"""

from __future__ import annotations

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError

from guqiaoctl.calendar_commands import calendar
from guqiaoctl.chain_commands import chain
from guqiaoctl.contract_commands import contract
from guqiaoctl.document_commands import document
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.gateway_commands import gateway
from guqiaoctl.narrowing import narrowed
from guqiaoctl.notice_commands import notice
from guqiaoctl.observed_commands import observed
from guqiaoctl.options import DEFAULT_DATA, Data, Heartbeat, Output, Shown
from guqiaoctl.output import fail
from guqiaoctl.recovery_commands import archive, restart
from guqiaoctl.register_commands import register
from guqiaoctl.report_commands import report
from guqiaoctl.template_commands import template
from guqiaoctl.trust_commands import trust

app = typer.Typer(
    name="guqiao",
    help="股桥 guqiao: the two-layer chain infrastructure of regional equity markets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Plain help: drawing boxes would double the time it takes.
)
dev = typer.Typer(
    name="dev", help="Run the whole network on this machine 单机网络", no_args_is_help=True
)
node = typer.Typer(
    name="node", help="One replica or service of the network 单个进程", no_args_is_help=True
)
tx = typer.Typer(name="tx", help="Transactions and their proofs 交易与证明", no_args_is_help=True)
governance = typer.Typer(
    name="governance", help="Who votes on a chain 副本集治理", no_args_is_help=True
)
dev.add_typer(node)
for group in (
    *(dev, register, tx, governance, restart, archive, contract, template, calendar, document),
    *(chain, notice, observed, gateway, report, trust),
):
    app.add_typer(group)


@app.callback()
def root() -> None:
    """A command line of groups, also where one command alone is left of it."""


class OnMalformed(StrEnum):
    """What an import does about malformed rows."""

    STOP = "stop"
    SKIP = "skip"


Chain = Annotated[str, typer.Option("--chain", help="csrc or shandong 链")]
Governor = Annotated[
    int, typer.Option("--governor", help="In whose name: the entity of replica N 治理人编号")
]


@dev.command("up")
def dev_up(
    data: Data = DEFAULT_DATA,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is ready")] = False,
    demo_data: Annotated[
        bool, typer.Option("--demo-data", help="Import market-basic once")
    ] = False,
    new_ports: Annotated[bool, typer.Option("--new-ports", help="Choose other ports")] = False,
    unregistered: Annotated[
        bool, typer.Option("--unregistered", help="Leave the registration to you 不登记市场链")
    ] = False,
    heartbeat: Heartbeat = None,
    kafka_bootstrap: Annotated[
        list[str], typer.Option(help="DOMAIN=HOST:PORT, a domain's bus on Apache Kafka 用 Kafka")
    ] = [],  # noqa: B006 - Typer's form of an option that may be repeated
) -> None:
    """Start the network and keep it up until Ctrl-C 启动网络."""
    from guqiaoctl.commands.dev import up

    up(
        data,
        detach=detach,
        demo_data=demo_data,
        new_ports=new_ports,
        heartbeat=heartbeat,
        kafka=kafka_bootstrap,
        unregistered=unregistered,
    )


@dev.command("down")
def dev_down(data: Data = DEFAULT_DATA) -> None:
    """Stop the network 停止网络."""
    from guqiaoctl.commands.dev import down

    down(data)


@dev.command("status")
def dev_status(data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """Show processes and endpoints 查看状态."""
    from guqiaoctl.commands.dev import status

    status(data, as_json=output is Shown.JSON)


@dev.command("reset")
def dev_reset(
    data: Data = DEFAULT_DATA,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
) -> None:
    """Delete the network's folder with all its data 删除网络及其数据."""
    from guqiaoctl.commands.dev import reset

    reset(data, confirmed=yes)


@dev.command("logs")
def dev_logs(
    process: Annotated[str, typer.Argument(help="A process, for example shandong-0")] = "",
    data: Data = DEFAULT_DATA,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000)] = 20,
) -> None:
    """Show the last log lines 查看日志."""
    from guqiaoctl.commands.dev import logs

    logs(data, process, lines)


@node.command("kill")
def node_kill(target: str, data: Data = DEFAULT_DATA) -> None:
    """End CHAIN/N or DOMAIN/SERVICE with SIGKILL 强制终止."""
    from guqiaoctl.commands.dev import node_command

    node_command(data, "kill", target)


@node.command("stop")
def node_stop(target: str, data: Data = DEFAULT_DATA) -> None:
    """Stop CHAIN/N or DOMAIN/SERVICE cleanly 正常停止."""
    from guqiaoctl.commands.dev import node_command

    node_command(data, "stop", target)


@node.command("start")
def node_start(target: str, data: Data = DEFAULT_DATA) -> None:
    """Start CHAIN/N or DOMAIN/SERVICE again 重新启动."""
    from guqiaoctl.commands.dev import node_command

    node_command(data, "start", target)


@app.command("import")
def import_dataset(
    dataset: Annotated[Path, typer.Argument(help="Folder of a market dataset 数据集目录")],
    data: Data = DEFAULT_DATA,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", help="Write seq,status,code rows here; - is standard output 结果文件"
        ),
    ] = None,
    on_malformed: Annotated[
        OnMalformed,
        typer.Option("--on-malformed", help="Malformed rows: stop before anything, or skip"),
    ] = OnMalformed.STOP,
    output: Output = Shown.TABLE,
) -> None:
    """Import a market dataset through the registry 导入数据集."""
    from guqiaoctl.commands.importing import run_import

    run_import(
        data,
        dataset,
        results=results,
        skip_malformed=on_malformed is OnMalformed.SKIP,
        as_json=output is Shown.JSON,
    )


@tx.command("find")
def tx_find(
    request: Annotated[str, typer.Argument(help="A request id (UUID) 请求编号")],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Find the transaction that a request id led to 按请求编号查找交易."""
    from guqiaoctl.commands.transactions import find

    find(data, request, as_json=output is Shown.JSON)


@tx.command("get")
def tx_get(transaction: str, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """Show a transaction and its outcome, verified 查询交易."""
    from guqiaoctl.commands.transactions import get

    get(data, transaction, as_json=output is Shown.JSON)


@tx.command("proof")
def tx_proof(
    transaction: str,
    to: Annotated[
        Path,
        typer.Option("--to", help="Write the proof bundle here; - is standard output 证明文件"),
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """Export the proof bundle of a transaction 导出证明."""
    from guqiaoctl.commands.transactions import proof

    proof(data, transaction, to)


@governance.command("status")
def governance_status(
    chain: Chain = "shandong", data: Data = DEFAULT_DATA, output: Output = Shown.TABLE
) -> None:
    """Show who votes now, who will, and the open proposals 查看副本集与提案."""
    from guqiaoctl.commands.governance import status

    status(data, chain, as_json=output is Shown.JSON)


@governance.command("propose")
def governance_propose(
    governor: Governor,
    file: Annotated[
        Path | None, typer.Option("--file", help="members, governors, not_before 提案文件")
    ] = None,
    replace: Annotated[
        list[str], typer.Option("--replace", help="N=HEX, the next vote key of N 更换投票密钥")
    ] = [],  # noqa: B006 - Typer's form of an option that may be repeated
    chain: Chain = "shandong",
    data: Data = DEFAULT_DATA,
) -> None:
    """Propose the next replica set for an entity; prints the proposal's id 提出副本集提案."""
    from guqiaoctl.commands.governance import propose

    propose(data, chain, governor, file=file, replace=replace)


@governance.command("approve")
def governance_approve(
    proposal: Annotated[str, typer.Argument(help="The id that `propose` printed 提案编号")],
    governor: Governor,
    chain: Chain = "shandong",
    data: Data = DEFAULT_DATA,
) -> None:
    """Approve a proposal for an entity 批准提案."""
    from guqiaoctl.commands.governance import approve

    approve(data, chain, governor, proposal)


@app.command("verify")
def verify_bundle(
    bundle: Annotated[Path, typer.Argument(help="A proof bundle 证明文件")],
    trust: Annotated[Path, typer.Option("--trust", help="The trust file 信任文件")],
    issuer: Annotated[
        str,
        typer.Option("--issuer", help="SM3 of its issuer's key, if known 签发方公钥摘要"),
    ] = "",
    code: Annotated[
        str, typer.Option("--code", help="The code that a certificate must have 验证码")
    ] = "",
    seal_authority: Annotated[
        list[Path] | None,
        typer.Option("--seal-authority", help="Judge the seals by this authority 签发机构证书"),
    ] = None,
    seal_crl: Annotated[
        list[Path] | None, typer.Option("--seal-crl", help="Its revocation list 吊销列表")
    ] = None,
    seal_certificate: Annotated[
        list[Path] | None, typer.Option("--seal-certificate", help="Of a signer 签章人证书")
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Verify a bundle, extract or certificate offline 离线验证. Exit code 7: it does not hold."""
    from guqiaoctl.commands.verifying import SealFiles, verify

    seals = SealFiles(seal_authority or (), seal_crl or (), seal_certificate or ())
    verify(bundle, trust, seals, issuer=issuer, code=code, as_json=output is Shown.JSON)


@app.command("doctor")
def doctor(data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """Check this machine and the network's folder 环境检查."""
    from guqiaoctl.commands.doctor import check

    check(data, as_json=output is Shown.JSON)


@app.command("explain")
def explain(
    code: Annotated[str, typer.Argument(help="A code, for example SHARES_INSUFFICIENT 错误码")],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Explain an error code: rule, article, remedy 解释错误码."""
    from guqiaoctl.commands.explaining import explain as explain_code

    explain_code(code, as_json=output is Shown.JSON)


def _show_what_can_be_shown() -> None:
    """Characters that the terminal's encoding has not become question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main() -> None:
    """Run the command line; failures become one message and an exit code."""
    _show_what_can_be_shown()
    try:
        sys.exit(narrowed(app, sys.argv[1:])(standalone_mode=False) or 0)
    except CliError as error:
        sys.exit(fail(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # Whoever read our output went away; there is no one to tell.
        sys.exit(1)
    except NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(EXIT_USAGE)
    except UsageError as error:
        from guqiaoctl.usage import usage_failure

        sys.exit(fail(usage_failure(error)))
    except Exception as error:
        from guqiaoctl.foreseen import foreseen

        failure = foreseen(error)
        if failure is None:
            raise
        sys.exit(fail(failure))


if __name__ == "__main__":
    main()
