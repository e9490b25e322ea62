"""`guqiao chain …`: the register of the chains that report to the regulatory chain."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, HEIGHT_MAX, Data, Output, Shown

chain = typer.Typer(
    name="chain", help="Chains that report to the regulator 链登记", no_args_is_help=True
)


class Scope(StrEnum):
    """What of a suspended chain is refused."""

    PACKETS = "PACKETS"
    ALL = "ALL"


Id = Annotated[str, typer.Argument(metavar="CHAIN", help="Such as shandong 链标识")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The registration, JSON 登记文件")]
Reason = Annotated[str, typer.Option("--reason", help="For the record 事由")]
Digest = Annotated[
    str | None, typer.Option("--digest", help="Of what you reviewed, see `show` 所审内容摘要")
]
AsProvince = Annotated[
    bool, typer.Option("--as-province", help="In the name of the province 以省级监管部门名义")
]
Report = Annotated[Path, typer.Option("--report", help="The test's report 测试报告")]
Probes = Annotated[
    Path, typer.Option("--probes", help="JSON: url, chain_id, height of each node 探测结果")
]
Failed = Annotated[bool, typer.Option("--failed", help="The test was not passed 未通过")]


# --- Registration -----------------------------------------------------------------------------


@chain.command("draft")
def chain_draft(
    out: Annotated[Path, typer.Option("--out", help="Where to write it; - prints it 输出文件")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Write a registration of this network's market chain, to be looked through 生成登记草稿."""
    from guqiaoctl.commands.chain_registry import draft

    draft(data, out)


@chain.command("prove-key")
def chain_prove_key(
    identifier: Id,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node's id 节点标识")],
    key: Annotated[Path, typer.Option("--key", help="Its consensus key 共识密钥文件")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Sign that a consensus key is held: sm2_pubkey and pop of a registration 证明持有共识密钥."""
    from guqiaoctl.commands.chain_registry import prove_key

    prove_key(identifier, node, key)


@chain.command("register")
def chain_register(file: File, data: Data = DEFAULT_DATA) -> None:
    """Register a chain as its operator 提交链登记. Exit code 2: a field is missing or wrong."""
    from guqiaoctl.commands.chain_registry import state

    state(data, "submit", file)


@chain.command("resubmit")
def chain_resubmit(file: File, data: Data = DEFAULT_DATA) -> None:
    """Register again what was given back 重新提交被退回的登记."""
    from guqiaoctl.commands.chain_registry import state

    state(data, "resubmit", file)


@chain.command("update")
def chain_update(file: File, data: Data = DEFAULT_DATA) -> None:
    """State what a registration says from now on 变更登记. Keys and nodes wait for a probe."""
    from guqiaoctl.commands.chain_registry import state

    state(data, "update", file)


@chain.command("show")
def chain_show(identifier: Id, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """Show where a registration is in its life, proven 查询链登记. Exit code 3: there is none."""
    from guqiaoctl.commands.chain_registry import show

    show(data, identifier, as_json=output is Shown.JSON)


# --- Review -----------------------------------------------------------------------------------


@chain.command("countersign")
def chain_countersign(identifier: Id, digest: Digest = None, data: Data = DEFAULT_DATA) -> None:
    """Countersign as the regulator of the province 省级会签."""
    from guqiaoctl.commands.chain_registry import review

    review(data, "countersign", identifier, digest=digest)


@chain.command("return")
def chain_return(
    identifier: Id,
    reason: Reason,
    as_province: AsProvince = False,
    digest: Digest = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Give a registration back, with the reason 退回登记."""
    from guqiaoctl.commands.chain_registry import give_back

    give_back(data, identifier, digest=digest, reason=reason, as_province=as_province)


@chain.command("start-test")
def chain_start_test(identifier: Id, digest: Digest = None, data: Data = DEFAULT_DATA) -> None:
    """Begin the conformance test, as the CSRC's technical side 开始符合性测试."""
    from guqiaoctl.commands.chain_registry import review

    review(data, "start_test", identifier, digest=digest)


@chain.command("report")
def chain_report(
    identifier: Id,
    report: Report,
    probes: Probes,
    failed: Failed = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Report the result of the conformance test 报告符合性测试结果."""
    from guqiaoctl.commands.chain_registry import report as report_test

    report_test(data, "report", identifier, report_file=report, probes=probes, is_failed=failed)


@chain.command("conformance")
def chain_conformance(
    identifier: Id,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--endpoint",
            help="[REPLICA@]HOST:PORT on this machine instead of those registered 本机节点端口",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust", help="Of a chain that is not registered: its trust file 未登记链的信任文件"
        ),
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="The update that waits for its probe 待生效的变更")
    ] = False,
    sample_height: Annotated[
        int,
        typer.Option(
            "--sample-height",
            min=0,
            max=HEIGHT_MAX,
            help="Of a block with data objects; 0: look for one 含数据对象的区块高度",
        ),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the signed report 写出签名报告")
    ] = None,
    probes_out: Annotated[
        Path | None,
        typer.Option("--probes-out", help="Write what `report --probes` takes 写出探测结果"),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Check the node RPC by the list of JR/T 0314, and sign a report 符合性测试.

    Exit code 7 unless every check was passed.
    """
    from guqiaoctl.commands.conformance import Asked, conformance

    asked = Asked(endpoint or (), trust, pending, sample_height, out, probes_out)
    conformance(data, identifier, asked, as_json=output is Shown.JSON)


@chain.command("verify-report")
def chain_verify_report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The report 符合性测试报告")],
    issuer_key: Annotated[
        str | None, typer.Option("--issuer-key", help="Whose it must be, in hex 签发方公钥")
    ] = None,
    output: Output = Shown.TABLE,
) -> None:
    """Verify a conformance report's signature 核验符合性测试报告. Exit code 7: it does not hold.

    A report that states a failure is a good report: look at `passed`.
    """
    from guqiaoctl.commands.conformance import verify_report

    verify_report(file, issuer_key, as_json=output is Shown.JSON)


@chain.command("approve")
def chain_approve(identifier: Id, digest: Digest = None, data: Data = DEFAULT_DATA) -> None:
    """Admit a chain, as both sides of the CSRC 批准链登记."""
    from guqiaoctl.commands.chain_registry import review

    review(data, "approve", identifier, digest=digest)


@chain.command("accept-update")
def chain_accept_update(
    identifier: Id,
    report: Report,
    probes: Probes,
    failed: Failed = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Report the probe of an update, which is in force if it was passed 报告变更的探测结果."""
    from guqiaoctl.commands.chain_registry import report as report_test

    report_test(
        data, "accept_update", identifier, report_file=report, probes=probes, is_failed=failed
    )


@chain.command("exempt")
def chain_exempt(
    identifier: Id,
    reason: Reason,
    operator: Annotated[str, typer.Option("--operator", help="Its credit code 运营机构信用代码")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Write down why an operator may have this further chain, as the CSRC 记录豁免理由."""
    from guqiaoctl.commands.chain_registry import act

    act(data, "exempt", identifier, {"operator_uscc": operator, "reason": reason})


@chain.command("trust-root")
def chain_trust_root(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its certificate, PEM 证书")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Let certificates of an authority count, as the CSRC 登记受信签发机构."""
    from guqiaoctl.commands.chain_registry import trust_root

    trust_root(data, file)


@chain.command("distrust-root")
def chain_distrust_root(
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="Of it 摘要")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Let certificates of an authority count no more 撤销受信签发机构."""
    from guqiaoctl.commands.chain_registry import distrust_root

    distrust_root(data, fingerprint)


@chain.command("draft-certificates")
def chain_draft_certificates(
    out: Annotated[Path, typer.Option("--out", help="A new folder for them 输出目录")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Let this network's market authority certify those who sign there 生成签章证书."""
    from guqiaoctl.commands.chain_seals import draft_certificates

    draft_certificates(data, out)


@chain.command("file-certificate")
def chain_file_certificate(
    identifier: Id,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Of those who sign, PEM 签章人证书")
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """File certificates of keys that seal data objects, as the operator 登记签章证书."""
    from guqiaoctl.commands.chain_seals import file_certificates

    file_certificates(data, identifier, files)


@chain.command("publish-crl")
def chain_publish_crl(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The list, PEM 吊销列表")
    ] = None,
    place: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A list or a folder of them, for timers 文件或目录，供定时任务"
        ),
    ] = None,
    authority: Annotated[
        list[Path] | None,
        typer.Option("--authority", help="Whose lists they are, PEM; with --from 签发机构证书"),
    ] = None,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Publish an authority's newest revocation list, as the technical side 公布证书吊销列表.

    With --from it may be run again and again: exit code 0 when the chain has every list, 5 when it
    refuses one, 6 when it does not answer, 2 or 3 for files that are none.
    """
    if (file is None) == (place is None):
        raise typer.BadParameter("give either FILE or --from 请给出 FILE 或 --from 之一")
    if file is not None:
        from guqiaoctl.commands.chain_seals import publish_crl

        publish_crl(data, file)
        return
    from guqiaoctl.commands.crl_publishing import publish_from

    assert place is not None
    publish_from(data, place, authority or (), as_json=output is Shown.JSON)


# --- Suspension and the end -------------------------------------------------------------------


@chain.command("suspend")
def chain_suspend(
    identifier: Id,
    reason: Reason,
    scope: Annotated[
        Scope, typer.Option("--scope", help="PACKETS, or headers too 暂停范围")
    ] = Scope.PACKETS,
    as_province: AsProvince = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Take nothing of a chain any more 暂停接入. The province needs the CSRC's signature too."""
    from guqiaoctl.commands.chain_registry import act

    stated = {"reason": reason, "scope": scope.value}
    act(data, "suspend", identifier, stated, as_province=as_province)


@chain.command("resume")
def chain_resume(
    identifier: Id,
    reason: Reason,
    closed: Annotated[
        Path, typer.Option("--closed", help="What shows that the cause is closed 整改证明")
    ],
    as_province: AsProvince = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Take it again 恢复接入."""
    from guqiaoctl.commands.chain_registry import act, digest_of

    stated = {"reason": reason, "cause_closed": digest_of(closed)}
    act(data, "resume", identifier, stated, as_province=as_province)


@chain.command("request-deregistration")
def chain_request_deregistration(
    identifier: Id,
    handover: Annotated[
        Path, typer.Option("--handover", help="What proves the hand-over of data 数据移交证明")
    ],
    reporting_path: Annotated[
        str, typer.Option("--reporting-path", help="How the market reports then 后续报送渠道")
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """Ask for the end of a registration, as its operator 申请注销."""
    from guqiaoctl.commands.chain_registry import act, digest_of

    stated = {"handover": digest_of(handover), "reporting_path": reporting_path}
    act(data, "request_deregistration", identifier, stated)


@chain.command("consent-deregistration")
def chain_consent_deregistration(identifier: Id, data: Data = DEFAULT_DATA) -> None:
    """Consent to it, as the regulator of the province 同意注销."""
    from guqiaoctl.commands.chain_registry import end

    end(data, "consent_deregistration", identifier)


@chain.command("deregister")
def chain_deregister(identifier: Id, data: Data = DEFAULT_DATA) -> None:
    """End a registration for good, as both sides of the CSRC 注销链登记."""
    from guqiaoctl.commands.chain_registry import end

    end(data, "deregister", identifier)


# --- Another trust for a frozen light client --------------------------------------------------


@chain.command("draft-client")
def chain_draft_client(
    identifier: Id,
    reason: Reason,
    out: Annotated[Path, typer.Option("--out", help="Where to write it; - prints it 输出文件")],
    height: Annotated[
        int,
        typer.Option("--height", min=0, max=HEIGHT_MAX, help="Of the header; 0: newest 区块头高度"),
    ] = 0,
    data: Data = DEFAULT_DATA,
) -> None:
    """Draft another trust for a light client that misbehaviour froze 起草轻客户端更换方案."""
    from guqiaoctl.commands.chain_clients import draft

    draft(data, identifier, out, reason=reason, height=height)


@chain.command("propose-client")
def chain_propose_client(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The draft, JSON 方案文件")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Propose it, as the CSRC's technical side 提出更换方案."""
    from guqiaoctl.commands.chain_clients import propose

    propose(data, file)


@chain.command("consent-client")
def chain_consent_client(identifier: Id, digest: Digest = None, data: Data = DEFAULT_DATA) -> None:
    """Consent to it, as the regulator of the province 同意更换方案."""
    from guqiaoctl.commands.chain_clients import sign

    sign(data, "consent_client", identifier, digest=digest)


@chain.command("replace-client")
def chain_replace_client(identifier: Id, digest: Digest = None, data: Data = DEFAULT_DATA) -> None:
    """Put it in force, as both sides of the CSRC 批准更换轻客户端."""
    from guqiaoctl.commands.chain_clients import sign

    sign(data, "replace_client", identifier, digest=digest)
