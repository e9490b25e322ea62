"""`guqiao verify`: a proof bundle, an extract or a certificate, a trust file, and no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.bundle import BUNDLE_BYTES_MAX
from guqiao_sdk.proof.certificates import parse_certificate_pem
from guqiao_sdk.proof.der import CertificateError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import VALUE_BYTES_MAX, is_extract
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import DEPTH_BOUND, JsonError, parse_json_strict
from guqiao_sdk.proof.observed_bundle import is_observed_bundle
from guqiao_sdk.proof.revocation_list import CRL_LENGTH_MAX, parse_revocation_list_pem
from guqiao_sdk.proof.seals import Authorities
from guqiao_sdk.proof.trust import NotATrustFileError, Trust, parse_trust, require_issuer
from guqiao_sdk.register_papers.certificate import (
    CertificateVerdict,
    is_certificate,
    verify_certificate,
)
from guqiao_sdk.verify import CertifiedBlock, OnCheck, Verdict, verify_bundle
from guqiao_sdk.verify_extract import verify_extract
from guqiao_sdk.verify_observed import ObservedVerdict, verify_observed
from guqiao_sdk.verify_seals import verify_seals
from guqiaoctl.commands.calls import unverified
from guqiaoctl.commands.certificate_codes import require_code, summary
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.output import Progress, choose, print_json, print_table, shown
from guqiaoctl.state_keys import described

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class SealFiles:
    """PEM files by which seals are judged: authorities, their lists, certificates of signers."""

    authorities: Sequence[Path] = ()
    lists: Sequence[Path] = ()
    certificates: Sequence[Path] = ()

    def read(self) -> Authorities | None:
        """What they say; None where there is none at all. Raises `CliError`."""
        if not (self.authorities or self.lists or self.certificates):
            return None
        return Authorities(
            [_read_pem(each, parse_certificate_pem) for each in self.authorities],
            [_read_pem(each, parse_revocation_list_pem) for each in self.lists],
            [_read_pem(each, parse_certificate_pem) for each in self.certificates],
        )


def _read_pem(path: Path, parse: Callable[[str], _Read]) -> _Read:
    try:
        return parse(read_input(path, CRL_LENGTH_MAX).decode("ascii", "replace"))
    except CertificateError as error:
        raise CliError(
            "CERTIFICATE_MALFORMED",
            f"{path}: {error}",
            f"{path} 不是合格的 SM2 证书或吊销列表（{error}）",
            "name PEM files of the authority: its certificate, its list, the signers' certificates",
            "请指定签发机构的 PEM 文件：机构证书、吊销列表、签章人证书",
            exit_code=EXIT_USAGE,
        ) from None


NO_SEAL_FILES: Final = SealFiles()


def verify(
    bundle: Path,
    trust: Path,
    seals: SealFiles = NO_SEAL_FILES,
    *,
    issuer: str = "",
    code: str = "",
    as_json: bool,
) -> None:
    """Verify, and say what is proven; as JSON each check is named with its result, whether all of
    them hold or not. With files of authorities the seals of data objects are judged, too. With
    `issuer`, the SM3 of a key in hex, the trust file counts only if that key signed it. `code` is
    the verification code that a certificate must have.

    Exit code 7 when anything does not hold, 2 when one of the two is another kind of file.
    """
    provider, authorities = open_provider(), seals.read()
    held: list[str] = []
    try:
        with Progress(choose("signatures verified", "已验证签名")) as progress:
            verify_one = _counting(provider.verify, progress)
            trusted = read_trust(trust, provider)
            if issuer:
                require_issuer(trusted, issuer)
            held.append("trust file")
            data = read_input(bundle, BUNDLE_BYTES_MAX)
            if code:
                require_code(data, code)
            proven = _proven(data, trusted, verify_one, held.append, authorities)
    except NotABundleError as error:
        raise CliError(
            "BUNDLE_MALFORMED",
            f"{bundle.name} is no proof bundle: {error}",
            f"{bundle.name} 不是证明文件：{error}",
            "export one with `guqiao tx proof` or `guqiao register extract`",
            "请用 `guqiao tx proof` 或 `guqiao register extract` 导出",
            exit_code=EXIT_USAGE,
        ) from error
    except ProofError as error:
        if as_json:
            failed = {"check": error.piece, "holds": False, "detail": error.detail}
            print_json({"verified": False, "checks": [*_checks(held), failed]})
        raise unverified(error) from error
    summary = {**issuer_of(trusted), **proven.facts}
    if as_json:
        checked = {"verified": True, "checks": _checks(held)}
        print_json({**summary, **proven.more, **checked})
    else:
        print_table(("VERIFIED", ""), [*summary.items(), *proven.rows])


@dataclass(frozen=True, slots=True)
class _Proven:
    """What is told of a proof: `facts` in both forms, `more` as JSON, `rows` in the table."""

    facts: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    rows: Sequence[tuple[str, str]] = ()


def _checks(held: Sequence[str]) -> list[dict[str, Any]]:
    return [{"check": piece, "holds": True} for piece in held]


def _proven(
    data: bytes,
    trusted: Trust,
    verify_one: Verify,
    on_check: OnCheck,
    authorities: Authorities | None,
) -> _Proven:
    now_ms = time.time_ns() // 1_000_000
    if authorities is None and is_certificate(data):
        found = verify_certificate(data, trusted, verify_one, now_ms=now_ms, on_check=on_check)
        return _of_certificate(found)
    if authorities is None and is_observed_bundle(data):
        seen = verify_observed(data, trusted, verify_one, now_ms=now_ms, on_check=on_check)
        return _Proven(_observed_summary(seen))
    if not (is_extract(data) or is_observed_bundle(data) or is_certificate(data)):
        verdict = verify_bundle(data, trusted, verify_one, now_ms=now_ms, on_check=on_check)
        facts = _summary(verdict)
        if authorities is not None:
            sealed = verify_seals(data, verdict, authorities, verify_one, on_check)
            facts["sealed_by"] = ", ".join(dict.fromkeys(each.organisation for each in sealed))
        return _Proven(facts)
    if authorities is not None:
        raise CliError(
            "REQUEST_MALFORMED",
            "neither a state, a certificate nor another kind of chain has seals to judge",
            "状态摘录、持有证书与其他种类的链中没有可核验的签章",
            "leave out the options that begin with --seal",
            "请去掉以 --seal 开头的选项",
            exit_code=EXIT_USAGE,
        )
    extract = verify_extract(data, trusted, verify_one, on_check=on_check)
    stands = [(name.decode(errors="replace"), value) for name, value in extract.facts.items()]
    listed = [
        {"key": name, "present": value is not None, "value": _value(value)}
        for name, value in stands
    ]
    nothing = choose("nothing stands there", "无记录")
    rows = [
        (described(name), nothing if value is None else shown(value.decode(errors="replace")))
        for name, value in stands
    ]
    return _Proven(_block(extract.block), {"facts": listed}, rows)


def _of_certificate(verdict: CertificateVerdict) -> _Proven:
    found = verdict.certificate
    rows = [
        *(
            (f"{choose('shares of', '股份')} {each.nature}", str(each.total))
            for each in found.holdings
        ),
        *(
            (f"{each.kind} {shown(each.number)}", f"{each.effective} + {each.waiting}")
            for each in found.encumbrances
        ),
    ]
    more = {
        "holdings": [asdict(each) for each in found.holdings],
        "encumbrances": [asdict(each) for each in found.encumbrances],
    }
    return _Proven({**_block(verdict.block), **summary(verdict)}, more, rows)


def _value(value: bytes | None) -> Any:
    """As JSON, which contracts keep; what is none, as hex."""
    if value is None:
        return None
    try:
        return parse_json_strict(value, depth_max=DEPTH_BOUND, size_max=VALUE_BYTES_MAX)
    except JsonError:
        return value.hex()


def _counting(verify: Verify, progress: Progress) -> Verify:
    """The same, taking down how many signatures were judged."""
    count = 0

    def judge(public_key: bytes, message: bytes, signature: bytes) -> bool:
        nonlocal count
        holds = verify(public_key, message, signature)
        count += 1
        progress.show(count)
        return holds

    return judge


def read_trust(trust: Path, provider: GmProvider) -> Trust:
    """The trust file that an offline verification starts from; raises `ProofError` where it does
    not hold, and `CliError` for another kind of file.
    """
    try:
        return parse_trust(read_input(trust, BUNDLE_BYTES_MAX), provider.verify)
    except NotATrustFileError as error:
        raise CliError(
            error.code,
            f"{trust.name} is no trust file: {error.detail}",
            f"{trust.name} 不是信任文件：{error.detail}",
            "name the trust file of whom you believe with --trust; get it from its issuer",
            "请用 --trust 指定您所信任的签发方的信任文件，可向签发方索取",
            exit_code=EXIT_USAGE,
        ) from error


def issuer_of(trusted: Trust) -> dict[str, Any]:
    """Whom the verification believes."""
    return {
        "trust_issuer": trusted.issuer_did,
        "trust_issuer_key": sm3(trusted.issuer_key).hex(),
    }


def _summary(verdict: Verdict) -> dict[str, Any]:
    facts: dict[str, Any] = {
        **_block(verdict.block),
        "transaction": verdict.transaction_id.hex(),
        "operation": f"{verdict.contract}.{verdict.method}",
        "maker": verdict.maker[0],
        "business_time": verdict.business_time or "",
        "outcome": "accepted" if verdict.accepted else f"refused: {verdict.code}",
        "data_object": verdict.object_id or "",
        "data_object_parts": len(verdict.packets),
    }
    if verdict.anchor is None:
        return facts | {"anchor": "none"}
    anchor = verdict.anchor
    return facts | {
        "anchor": f"{anchor.block.chain_id} height {anchor.block.height}",
        "anchor_time": time_text(anchor.block.block_time_ms),
        "anchor_age_seconds": anchor.age_ms // 1000,
        "anchor_signed_by": ", ".join(anchor.block.signers),
    }


def _observed_summary(verdict: ObservedVerdict) -> dict[str, Any]:
    transaction, receipt = verdict.execution.transaction, verdict.execution.receipt
    return {
        "chain": verdict.trust.name,
        "height": verdict.height,
        "block_time": time_text(verdict.block_time_ms),
        "signed_by": ", ".join(each.hex() for each in verdict.signers),
        "trusted_until": verdict.trust.valid_until,
        "checkpoint_height": verdict.checkpoint.number,
        "transaction": transaction.hash().hex(),
        "sender": "0x" + transaction.sender.hex(),
        "target": transaction.to,
        "body": transaction.data.hex(),
        "outcome": "accepted" if receipt.status == 0 else f"refused: {receipt.status}",
        "result": receipt.tail.hex(),
        "anchor": "none",
    }


def _block(block: CertifiedBlock) -> dict[str, Any]:
    return {
        "chain": block.chain_id,
        "height": block.height,
        "block_time": time_text(block.block_time_ms),
        "signed_by": ", ".join(block.signers),
    }


def time_text(milliseconds: int) -> str:
    """A block time for a person."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
