"""`guqiao contract …`: contracts of star/1 on this machine, and on the chains of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guqiaoctl.options import (
    DEFAULT_DATA,
    GAS_DEFAULT,
    GAS_MAX,
    HEIGHT_MAX,
    SENDER,
    TIME,
    Data,
    Output,
    Shown,
)

if TYPE_CHECKING:
    from guqiao_sdk.proof.json_values import Json
    from services.consensus.domain.contracts.template.model import Template as ReadTemplate

contract = typer.Typer(name="contract", help="Contracts of star/1 合约", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(metavar="FILE", help="The contract's source 合约源文件")]
Method = Annotated[str, typer.Option("--method", help="What to call 方法")]
Arguments = Annotated[str, typer.Option("--args", help="A JSON object by name 参数")]
TemplateFile = Annotated[
    Path | None,
    typer.Option("--template", help="YAML that the calls have to keep to 模板文件"),
]
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
    template: TemplateFile = None,
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
        template=_template(template),
    )
    run(order, write_state=write_state, as_json=output is Shown.JSON)


@contract.command("gas")
def contract_gas(
    file: Source,
    method: Method,
    args: Arguments = "{}",
    state: State = None,
    template: TemplateFile = None,
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
        template=_template(template),
    )
    show_gas(order, as_json=output is Shown.JSON)


@contract.command("test")
def contract_test(
    file: Source,
    cases: Annotated[
        Path | None, typer.Option("--cases", help="Default: FILE with .cases.json 用例文件")
    ] = None,
    template: TemplateFile = None,
    test_run: Annotated[
        str | None,
        typer.Option(
            "--test-run",
            metavar="CHAIN/TRANSACTION",
            help="Where it ran on a test network 测试网运行",
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Run a contract's cases, without a network 运行用例. Exit code 5: one fails.

    The report, -o json, also says what static analysis found, and names the run on a test network.
    """
    from guqiaoctl.commands.contract_cases import test
    from guqiaoctl.commands.contract_evidence import analysis_of, named_run
    from guqiaoctl.commands.contracts import module_of

    module, found = module_of(file), _template(template)
    evidence: dict[str, Json] = {"analysis": analysis_of(file, found)}
    if test_run is not None:
        evidence["test_run"] = named_run(test_run)
    is_json = output is Shown.JSON
    test(file, module, cases, template=found, evidence=evidence, as_json=is_json)


@contract.command("new")
def contract_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called 合约名")],
    into: Annotated[Path, typer.Option("--into", help="The folder 目录")] = Path(),
    data: Data = DEFAULT_DATA,
) -> None:
    """Begin a contract: NAME.star and cases that pass 新建合约. Nothing is replaced."""
    from guqiaoctl.commands.contract_cases import new

    new(name, into)


@contract.command("diff")
def contract_diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="The source as it is 现行源文件")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The source to come 升级后源文件")],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show what an upgrade changes for others, and whether it is compatible 比较接口."""
    from guqiaoctl.commands.contracts import diff

    diff(before, after, as_json=output is Shown.JSON)


def _template(path: Path | None) -> ReadTemplate | None:
    """The template in a file; raises `CliError`, exit code 7, where it is none."""
    if path is None:
        return None
    from guqiaoctl.template_files import load_deployable

    return load_deployable(path)


# --- On a chain -------------------------------------------------------------------------------

Name = Annotated[str, typer.Argument(metavar="NAME", help="The contract's name 合约名")]
OnChain = Annotated[str, typer.Option("--chain", help="Which chain 链")]
Governor = Annotated[int, typer.Option("--governor", help="The entity, by its replica 单位编号")]
Template = Annotated[
    str | None, typer.Option("--template", metavar="ID@VERSION", help="In force 生效的模板")
]
Tests = Annotated[
    Path | None, typer.Option("--tests", help="Output of `contract test -o json` 测试报告")
]
RiskReview = Annotated[Path | None, typer.Option("--risk-review", help="Its file 风险论证文件")]
Reason = Annotated[str, typer.Option("--reason", help="Kept on the chain 原因")]


@contract.command("deploy")
def contract_deploy(
    file: Source,
    name: Annotated[str, typer.Option("--name", help="The contract's name 合约名")],
    governor: Governor,
    template: Template = None,
    tests: Tests = None,
    risk_review: RiskReview = None,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Propose a new contract for an entity; prints the proposal's id 提出部署.

    The account that reviews contracts signs with the governor for tests and risk review.
    """
    from guqiaoctl.commands.deploying import Place, propose_code
    from guqiaoctl.commands.releases import Release

    place, release = Place(data, chain, name), Release(template, tests, risk_review)
    propose_code(place, governor, file, release, compatible=None, as_json=output is Shown.JSON)


@contract.command("upgrade")
def contract_upgrade(
    file: Source,
    name: Annotated[str, typer.Option("--name", help="The contract's name 合约名")],
    governor: Governor,
    compatible: Annotated[
        bool,
        typer.Option("--compatible", help="Refuse it where it breaks anything 不兼容则拒绝"),
    ] = False,
    template: Template = None,
    tests: Tests = None,
    risk_review: RiskReview = None,
    notice: Annotated[
        int | None,
        typer.Option("--notice", min=1, help="Its notice, where it breaks anybody 升级通知编号"),
    ] = None,
    change_list: Annotated[
        Path | None,
        typer.Option("--change-list", help="The change list of that notice 变更清单"),
    ] = None,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Propose the next version of a contract; prints the proposal's id 提出升级.

    The account that reviews contracts signs with the governor for tests and risk review.
    """
    from guqiaoctl.commands.deploying import Place, propose_code
    from guqiaoctl.commands.releases import Release

    place = Place(data, chain, name)
    release = Release(template, tests, risk_review, notice, change_list)
    is_json = output is Shown.JSON
    propose_code(place, governor, file, release, compatible=compatible, as_json=is_json)


@contract.command("pause")
def contract_pause(
    name: Name,
    reason: Reason,
    governor: Governor,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Propose to pause a contract; more than a third of the entities suffice 提出暂停."""
    from guqiaoctl.commands.deploying import Place, propose_status

    place = Place(data, chain, name)
    propose_status(place, governor, "pause", reason, as_json=output is Shown.JSON)


@contract.command("resume")
def contract_resume(
    name: Name,
    reason: Reason,
    governor: Governor,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Propose that a paused contract goes on 提出恢复."""
    from guqiaoctl.commands.deploying import Place, propose_status

    place = Place(data, chain, name)
    propose_status(place, governor, "resume", reason, as_json=output is Shown.JSON)


@contract.command("destroy")
def contract_destroy(
    name: Name,
    reason: Reason,
    governor: Governor,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Propose to end a contract for good; its state stays readable 提出销毁."""
    from guqiaoctl.commands.deploying import Place, propose_status

    place = Place(data, chain, name)
    propose_status(place, governor, "destroy", reason, as_json=output is Shown.JSON)


@contract.command("approve")
def contract_approve(
    name: Name,
    proposal: Annotated[str, typer.Argument(metavar="PROPOSAL", help="Its id 提案编号")],
    governor: Governor,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Approve a proposal for an entity 批准提案. Exit code 7: its source is not what would run."""
    from guqiaoctl.commands.deploying import Place, approve

    approve(Place(data, chain, name), governor, proposal, as_json=output is Shown.JSON)


@contract.command("call")
def contract_call(
    name: Name,
    method: Method,
    args: Arguments = "{}",
    account: Annotated[str, typer.Option("--account", help="Who signs 签名账户")] = "maker",
    second: Annotated[
        str | None, typer.Option("--checker", help="Who signs second, where two do 复核账户")
    ] = None,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Call a contract on a chain 调用合约. Exit code 5: it said no; 2: wrong arguments.

    Arguments with numbers of persons are wrong: they would be on chain for ever.
    """
    from guqiaoctl.commands.contract_inputs import refuse_personal_data
    from guqiaoctl.commands.deploying import Place, call

    refuse_personal_data(args)
    signers, is_json = (account, second), output is Shown.JSON
    call(Place(data, chain, name), signers, method, args, as_json=is_json)


@contract.command("show")
def contract_show(
    name: Name,
    chain: OnChain = "shandong",
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show a contract of a chain, and what is proposed for it 查看合约与提案."""
    from guqiaoctl.commands.deploying import Place, show

    show(Place(data, chain, name), as_json=output is Shown.JSON)
