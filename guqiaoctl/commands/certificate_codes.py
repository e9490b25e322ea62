"""What `guqiao verify` asks and tells of a certificate, offline."""

from __future__ import annotations

from typing import Any

from guqiao_sdk.register_papers.certificate import Certificate, CertificateVerdict, is_certificate
from guqiao_sdk.register_papers.verification_code import read_code
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.output import shown


def require_code(data: bytes, typed: str) -> None:
    """Raise `CliError` where what a person typed is no verification code or the file has none, and
    `ProofError` where the code is that of another certificate.
    """
    if not is_certificate(data):
        raise _malformed(
            ("only a certificate has a verification code", "只有证书有验证码"),
            ("leave --code out", "请去掉 --code"),
        )
    code = read_code(typed)
    if code is None:
        raise _malformed(
            (
                f"--code {shown(typed)} was mistyped: its check digits are not those of it",
                f"--code {shown(typed)} 输入有误：校验位与字符不符",
            ),
            ("type it again as it stands on the certificate", "请按证书所载重新输入"),
        )
    Certificate.decode(data).require_code(code)


def summary(verdict: CertificateVerdict) -> dict[str, Any]:
    """What `guqiao verify` tells of a certificate."""
    found = verdict.certificate
    return {
        "certificate": found.number,
        "code": found.code,
        "digest": found.digest.hex(),
        "account": found.account,
        "product_code": found.product,
        "institution": found.signer.did,
        "age_seconds": verdict.age_ms // 1000,
    }


def _malformed(texts: tuple[str, str], remedies: tuple[str, str]) -> CliError:
    return CliError("REQUEST_MALFORMED", *texts, *remedies, exit_code=EXIT_USAGE)
