"""`guqiao chain conformance`: examines a chain's nodes by the list of JR/T 0314 and signs a report.

The nodes are read as the regulator's reader, over GM-TLS where they are registered so; the report
is signed by the CSRC's technical side, which reports the result to the chain. A report is trusted
with nothing that its checks do not show.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TextIO

from guqiao_sdk import rules
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.client.trust import ChainTrust, authorities_in
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.conformance.findings import FACT_LENGTH_MAX, TITLES, Check, Finding, Result
from guqiao_sdk.conformance.port import Bounds, Subject
from guqiao_sdk.conformance.report import (
    REPORT_BYTES_MAX,
    Examiner,
    Report,
    encode_report,
    parse_report,
)
from guqiao_sdk.conformance.suite import Examination, examine
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import canonical_json, parse_json_strict
from guqiao_sdk.proof.quorum import PUBLIC_KEY_BYTES, ReplicaSetError
from guqiao_sdk.working_days import CHINA
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import failure
from guqiaoctl.commands.chain_registry import registered
from guqiaoctl.commands.conformance_links import (
    Dialled,
    Reader,
    named_endpoints,
    open_nodes,
    registered_endpoints,
)
from guqiaoctl.failures import EXIT_UNVERIFIED, EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC
from guqiaoctl.output import (
    Progress,
    choose,
    language,
    log_warnings_only,
    print_json,
    print_table,
    say,
    shown,
)
from guqiaoctl.proof_problems import in_chinese
from guqiaoctl.result_files import beside, whole_file
from services.consensus.domain.contracts.chain_registry.form import (
    CRYPTO_SUITES,
    Registration,
    read_registration,
)

READER: Final = (CSRC, "gateway")
"""Whom the regulator reads business chains as."""
ISSUER: Final = (CSRC, "tech")
DEPTH_MAX: Final = 6
_RESULTS: Final = {
    Result.PASSED: ("passed", "通过"),
    Result.FAILED: ("FAILED", "未通过"),
    Result.NOT_CHECKED: ("NOT CHECKED", "未检查"),
}
_WANTED: Final = {
    "TRANSACTION": ("transactions", "交易"),
    "OBJECT": ("data objects", "数据对象"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is examined, and where the results go."""

    endpoints: Sequence[str]
    trust: Path | None
    is_update: bool
    sample_height: int
    out: Path | None
    probes_out: Path | None


def conformance(data: Path, chain: str, asked: Asked, *, as_json: bool) -> None:
    """Examine, print and write. Exit code 7 unless every check was passed."""
    log_warnings_only()
    network, provider = load_network(data), open_provider()
    subject, dialled = _subject(network, chain, asked)
    with whole_file(asked.out) as write, whole_file(asked.probes_out) as write_probes:
        began_at = now_in_china()
        with Progress(choose("asking the nodes", "查询各节点")):
            examination = guarded(
                asyncio.run, examined(network, provider, subject, dialled, asked.sample_height)
            )
        report = signed_report(network, provider, examination, began_at)
        write(report + b"\n")
        write_probes(canonical_json(probes_of(examination)) + b"\n")
    if as_json:
        value = parse_json_strict(report, depth_max=DEPTH_MAX, size_max=REPORT_BYTES_MAX)
        print_json(value, _beside_results(asked))
    else:
        _print_findings(examination.findings, asked)
    if not examination.passed:
        raise not_passed(chain, examination.findings)
    say(choose(f"{chain}: every check was passed", f"{chain}：全部检查通过"))


def verify_report(path: Path, issuer_key: str | None, *, as_json: bool) -> None:
    """Verify a report's form and signature, and say what it states."""
    content = read_input(path, REPORT_BYTES_MAX)
    try:
        report = parse_report(content.removesuffix(b"\n"), open_provider().verify, _key(issuer_key))
    except ProofError as error:
        piece, reason = in_chinese(error)
        texts = rules.messages(error.code)
        raise CliError(
            error.code,
            f"{error.piece}: {error.detail}",
            f"{piece}：{reason}",
            texts.remedy_en,
            texts.remedy_zh,
            exit_code=EXIT_UNVERIFIED,
        ) from error
    facts = _facts(report)
    if as_json:
        print_json(facts)
        return
    print_table(("VERIFIED", ""), [(name, shown(value)) for name, value in facts.items()])


# --- What is examined -----------------------------------------------------------------------------


def _subject(network: Network, chain: str, asked: Asked) -> tuple[Subject, Sequence[Dialled]]:
    """The chain as it is registered; or, at the endpoints that were named, as a trust file says."""
    if asked.trust is not None:
        if not asked.endpoints:
            raise _usage("--trust", "it goes with --endpoint", "须与 --endpoint 同用")
        trust = _trust(asked.trust, chain)
        [suite] = CRYPTO_SUITES
        return Subject(trust, suite), named_endpoints(asked.endpoints)
    found = registered(network, chain)
    stated = found["pending"] if asked.is_update else found["registration"]
    if stated is None:
        raise failure("CHAIN_UPDATE_UNKNOWN", chain=chain)
    registration = read_registration(stated["registration"])
    if asked.endpoints:
        return subject_of(registration), named_endpoints(asked.endpoints)
    return subject_of(registration), registered_endpoints(registration, network)


def subject_of(registration: Registration) -> Subject:
    """The chain as a registration states it."""
    value: Any = registration.value
    return Subject(
        ChainTrust(
            registration.chain_id,
            bytes.fromhex(value["genesis_hash"]),
            registration.replica_set,
            authorities_in(value) if value["restart_authorities"] is not None else None,
        ),
        crypto_suite=value["platform"]["crypto_suite"],
        registration_digest=registration.digest,
        sub_networks=tuple(value["sub_networks"]),
    )


def _trust(path: Path, chain: str) -> ChainTrust:
    try:
        trust = load_chain_trust(path)
    except (MalformedError, ReplicaSetError) as error:
        raise _usage(f"--trust {path}", str(error), str(error)) from None
    except OSError as error:
        raise _usage(f"--trust {path}", str(error.strerror), str(error.strerror)) from None
    if trust.chain_id != chain:
        raise _usage(f"--trust {path}", f"it is of {trust.chain_id}", f"属于 {trust.chain_id}")
    return trust


async def examined(
    network: Network,
    provider: GmProvider,
    subject: Subject,
    dialled: Sequence[Dialled],
    sample_height: int = 0,
) -> Examination:
    """What came of the checks at these nodes, asked as the regulator's reader."""
    reader = open_identity(network, provider, *READER)
    async with AsyncExitStack() as stack:
        endpoints = await open_nodes(
            stack, subject.trust.chain_id, dialled, Reader(reader, provider, network)
        )
        bounds = Bounds(sample_height=sample_height)
        return await examine(subject, endpoints, provider.verify, bounds)


# --- The report -----------------------------------------------------------------------------------


def signed_report(
    network: Network, provider: GmProvider, examination: Examination, began_at: str
) -> bytes:
    """The report on an examination, signed by the CSRC's technical side."""
    issuer: Identity = open_identity(network, provider, *ISSUER)
    examiner = Examiner(
        did=issuer.did,
        key_id=issuer.key_id,
        public_key=issuer.private_key.public_key,
        reader_did=open_identity(network, provider, *READER).did,
        began_at=began_at,
        ended_at=now_in_china(),
        software_version=version("guqiao"),
    )
    return encode_report(
        examination, examiner, lambda message: provider.sign(issuer.private_key, message)
    )


def probes_of(examination: Examination) -> list[Any]:
    """What `guqiao chain report --probes` takes: of each node the height that it proved."""
    chain = examination.subject.trust.chain_id
    return [
        {"url": each.url, "chain_id": chain, "height": examination.heights[each.url]}
        for each in examination.endpoints
        if each.url in examination.heights
    ]


def _print_findings(findings: Sequence[Finding], asked: Asked) -> None:
    header = (
        choose("CHECK", "检查项"),
        choose("NODE", "节点"),
        choose("RESULT", "结果"),
        choose("WHY", "原因"),
    )
    rows = [
        (
            choose(*TITLES[each.check]),
            each.node or choose("all", "全部"),
            choose(*_RESULTS[each.result]),
            _why(each),
        )
        for each in findings
    ]
    print_table(header, rows, _beside_results(asked))


def _beside_results(asked: Asked) -> TextIO:
    """Where the findings are printed: not into a result that goes to standard output."""
    streams = (beside(asked.out), beside(asked.probes_out))
    return sys.stderr if sys.stderr in streams else sys.stdout


def _why(finding: Finding) -> str:
    if not finding.code:
        return ""
    facts = dict(finding.facts)
    if finding.code == "CONFORMANCE_PROOF_INVALID" and language() == "zh":
        facts["piece"], facts["detail"] = in_chinese(ProofError(facts["piece"], facts["detail"]))
    if finding.code == "CONFORMANCE_DEPENDS":
        facts["needed"] = choose(*TITLES[Check(facts["needed"])])
    if finding.code == "CONFORMANCE_NO_SAMPLE":
        facts["wanted"] = choose(*_WANTED[facts["wanted"]])
    texts = rules.messages(finding.code, **facts)
    return shown(choose(texts.en, texts.zh))


def _facts(report: Report) -> dict[str, Any]:
    counts = {result: sum(each.result is result for each in report.findings) for result in Result}
    return {
        "issuer": report.examiner.did,
        "issuer_key": report.examiner.public_key.hex(),
        "issuer_key_digest": sm3(report.examiner.public_key).hex(),
        "ended_at": report.examiner.ended_at,
        "chain_id": report.chain_id,
        "genesis_hash": report.genesis_hash.hex(),
        "registration_digest": report.registration_digest,
        "common_height": report.common_height,
        "endpoints": [each["url"] for each in report.endpoints],
        "checks_passed": counts[Result.PASSED],
        "checks_failed": counts[Result.FAILED],
        "not_checked": counts[Result.NOT_CHECKED],
        "passed": report.passed,
    }


def not_passed(chain: str, findings: Sequence[Finding]) -> CliError:
    """The failure of an examination in which not every check was passed."""
    failed = sum(each.result is Result.FAILED for each in findings)
    left_out = sum(each.result is Result.NOT_CHECKED for each in findings)
    texts = rules.messages("CONFORMANCE_FAILED", chain=chain, failed=failed, left_out=left_out)
    return CliError(
        "CONFORMANCE_FAILED",
        texts.en,
        texts.zh,
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_UNVERIFIED,
    )


def _key(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        reason = (f"not {PUBLIC_KEY_BYTES} bytes in hex", f"不是 {PUBLIC_KEY_BYTES} 字节的十六进制")
        raise _usage("--issuer-key", *reason)
    return key


def _usage(option: str, english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        f"{option}: {shown(english[:FACT_LENGTH_MAX])}",
        f"{option}：{shown(chinese[:FACT_LENGTH_MAX])}",
        "see `guqiao chain conformance --help`",
        "请查看 `guqiao chain conformance --help`",
        exit_code=EXIT_USAGE,
    )


def now_in_china() -> str:
    """The time that a report states, RFC 3339 in seconds with +08:00."""
    return datetime.now(UTC).astimezone(CHINA).isoformat(timespec="seconds")
