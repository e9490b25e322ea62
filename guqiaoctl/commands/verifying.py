"""`guqiao verify`: a proof bundle, a trust file, and no network."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.bundle import BUNDLE_BYTES_MAX, NotABundleError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.trust import NotATrustFileError, Trust, parse_trust
from guqiao_sdk.verify import Verdict, verify_bundle
from guqiaoctl.commands.calls import unverified
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.output import Progress, choose, print_json, print_table


def verify(bundle: Path, trust: Path, *, as_json: bool) -> None:
    """Verify, and say what is proven.

    Exit code 7 when anything does not hold, 2 when one of the two is another kind of file.
    """
    provider = open_provider()
    try:
        with Progress(choose("signatures verified", "已验证签名")) as progress:
            verify_one = _counting(provider.verify, progress)
            trusted = read_trust(trust, provider)
            now_ms = time.time_ns() // 1_000_000
            verdict = verify_bundle(
                read_input(bundle, BUNDLE_BYTES_MAX), trusted, verify_one, now_ms=now_ms
            )
    except NotABundleError as error:
        raise CliError(
            "BUNDLE_MALFORMED",
            f"{bundle.name} is no proof bundle: {error}",
            f"{bundle.name} 不是证明文件：{error}",
            "export one with `guqiao tx proof`",
            "请用 `guqiao tx proof` 导出",
            exit_code=EXIT_USAGE,
        ) from error
    except ProofError as error:
        raise unverified(error) from error
    summary = {**issuer_of(trusted), **_summary(verdict)}
    if as_json:
        print_json(summary)
    else:
        print_table(("VERIFIED", ""), list(summary.items()))


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
    """The trust file that an offline verification starts from."""
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
    except ProofError as error:
        raise unverified(error) from error


def issuer_of(trusted: Trust) -> dict[str, Any]:
    """Whom the verification believes."""
    return {
        "trust_issuer": trusted.issuer_did,
        "trust_issuer_key": sm3(trusted.issuer_key).hex(),
    }


def _summary(verdict: Verdict) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "chain": verdict.block.chain_id,
        "height": verdict.block.height,
        "block_time": time_text(verdict.block.block_time_ms),
        "signed_by": ", ".join(verdict.block.signers),
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


def time_text(milliseconds: int) -> str:
    """A block time for a person."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
