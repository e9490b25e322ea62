"""Judge a certificate: does a root that may speak for its holder's domain vouch for it, at this
time, and has nobody revoked it?

The judge is OpenSSL's own store (in `cryptography`, through pyOpenSSL), filled with the roots of
that one domain: another domain's root vouches for nobody in it (ADR 0022). A missing or stale
revocation list refuses: not knowing is not trusting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Final

from cryptography import x509
from OpenSSL import SSL, crypto

from guqiao_sdk.gm import asn1, sm2
from guqiao_sdk.gm.certificates.info import (
    CertificateInfo,
    describe,
    load_certificate,
    malformed,
)
from guqiao_sdk.gm.certificates.names import IdentityMalformedError, identity_domain
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.openssl_errors import forget_openssl_errors
from guqiao_sdk.gm.provider import GmProvider, open_provider

CRL_SIZE_MAX: Final = 64 * 1024 * 1024


class RefusalReason(StrEnum):
    """Why a certificate is not believed."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    CRL_STALE = "crl_stale"
    CRL_MISSING = "crl_missing"
    CRL_NOT_BELIEVED = "crl_not_believed"
    UNKNOWN_ISSUER = "unknown_issuer"
    BAD_SIGNATURE = "bad_signature"
    WRONG_PURPOSE = "wrong_purpose"
    OTHER = "other"


_X509: Final = SSL.X509VerificationCodes
_REASONS: Final = {
    _X509.ERR_CERT_HAS_EXPIRED: RefusalReason.EXPIRED,
    _X509.ERR_CERT_NOT_YET_VALID: RefusalReason.NOT_YET_VALID,
    _X509.ERR_CERT_REVOKED: RefusalReason.REVOKED,
    _X509.ERR_CRL_HAS_EXPIRED: RefusalReason.CRL_STALE,
    _X509.ERR_CRL_NOT_YET_VALID: RefusalReason.CRL_STALE,
    _X509.ERR_UNABLE_TO_GET_CRL: RefusalReason.CRL_MISSING,
    _X509.ERR_UNABLE_TO_GET_CRL_ISSUER: RefusalReason.CRL_NOT_BELIEVED,
    _X509.ERR_CRL_SIGNATURE_FAILURE: RefusalReason.CRL_NOT_BELIEVED,
    _X509.ERR_UNABLE_TO_GET_ISSUER_CERT: RefusalReason.UNKNOWN_ISSUER,
    _X509.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: RefusalReason.UNKNOWN_ISSUER,
    _X509.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: RefusalReason.UNKNOWN_ISSUER,
    _X509.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: RefusalReason.UNKNOWN_ISSUER,
    _X509.ERR_SELF_SIGNED_CERT_IN_CHAIN: RefusalReason.UNKNOWN_ISSUER,
    _X509.ERR_CERT_SIGNATURE_FAILURE: RefusalReason.BAD_SIGNATURE,
    _X509.ERR_INVALID_PURPOSE: RefusalReason.WRONG_PURPOSE,
    _X509.ERR_INVALID_CA: RefusalReason.WRONG_PURPOSE,
}

_TEXTS: Final = {
    RefusalReason.EXPIRED: ("it has expired; renew it", "已过期;请更新证书"),
    RefusalReason.NOT_YET_VALID: (
        "it is not valid yet; check both clocks",
        "尚未生效;请检查双方时钟",
    ),
    RefusalReason.REVOKED: ("it was revoked; issue a new one", "已被吊销;请重新签发"),
    RefusalReason.CRL_STALE: (
        "the revocation list is out of date; fetch or issue a new one",
        "吊销列表已过期;请获取或签发新的列表",
    ),
    RefusalReason.CRL_MISSING: (
        "there is no revocation list of its issuer; provide one",
        "缺少其签发机构的吊销列表;请提供",
    ),
    RefusalReason.CRL_NOT_BELIEVED: (
        "the revocation list is not signed by its issuer; fetch it again",
        "吊销列表签名无效;请重新获取",
    ),
    RefusalReason.UNKNOWN_ISSUER: (
        "no trusted authority issued it; check which network it belongs to",
        "签发机构不受信任;请确认证书所属网络",
    ),
    RefusalReason.BAD_SIGNATURE: ("its signature is wrong: it was changed", "签名无效:证书被改动"),
    RefusalReason.WRONG_PURPOSE: (
        "it was not issued for this purpose; use a replica's or service's certificate",
        "证书用途不符;请使用副本或服务证书",
    ),
    RefusalReason.OTHER: ("it breaks a rule of X.509", "不符合 X.509 规则"),
}


_CODES: Final = {
    RefusalReason.EXPIRED: "CERTIFICATE_EXPIRED",
    RefusalReason.NOT_YET_VALID: "CERTIFICATE_EXPIRED",
    RefusalReason.REVOKED: "CERTIFICATE_REVOKED",
    RefusalReason.CRL_STALE: "CRL_STALE",
    RefusalReason.UNKNOWN_ISSUER: "CERTIFICATE_UNTRUSTED",
}


class CertificateRefusedError(GmError):
    """A certificate was judged and not believed; the code says why, where there is one for it."""

    code = "CERTIFICATE_REFUSED"

    def __init__(self, reason: RefusalReason, holder: str, detail: str) -> None:
        en, zh = _TEXTS[reason]
        super().__init__(
            f"certificate of {holder} refused: {en} ({detail})", f"拒绝 {holder} 的证书:{zh}"
        )
        self.code = _CODES.get(reason, self.code)
        self.reason = reason
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Authority:
    """A root and its revocation lists (PEM), and the domains whose holders it may certify."""

    certificate: bytes
    crls: tuple[bytes, ...]
    domains: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Anchor:
    certificate: x509.Certificate
    crls: tuple[x509.CertificateRevocationList, ...]
    domains: frozenset[str]

    @classmethod
    def of(cls, authority: Authority) -> _Anchor:
        certificate = load_certificate(authority.certificate)
        info = describe(certificate)
        if not info.is_authority:
            raise malformed("a trust anchor must be an authority's", "信任锚必须是 CA 证书")
        crls = tuple(_load_crl(pem) for pem in authority.crls)
        # The name is not enough: in the handshake's store all lists stand together, and there one
        # that another authority made in this one's name would refuse its certificates.
        if not all(crl.issuer == certificate.subject and _is_signed(crl, info) for crl in crls):
            raise malformed(
                "a revocation list beside it is another authority's", "其吊销列表由其他 CA 签发"
            )
        return cls(certificate, crls, authority.domains)


class TrustAnchors:
    """Roots and revocation lists, parsed once. Judges any number of certificates."""

    def __init__(self, authorities: Sequence[Authority]) -> None:
        """Read all, or raise `CertificateMalformedError`."""
        if not authorities:
            raise malformed("there is no trust anchor", "没有信任锚")
        self._anchors: Final = tuple(_Anchor.of(authority) for authority in authorities)
        try:
            self.fill(crypto.X509Store())
        except crypto.Error:
            raise malformed("OpenSSL cannot read the anchors", "OpenSSL 无法解析信任锚") from None

    @property
    def crls(self) -> tuple[x509.CertificateRevocationList, ...]:
        """Every list of every authority."""
        return tuple(crl for anchor in self._anchors for crl in anchor.crls)

    def fill(self, store: crypto.X509Store) -> None:
        """Put all roots and lists into an OpenSSL store, and make it ask for the lists.

        What it then believes has still to pass `verify`, which knows whose domain it is.
        """
        _fill(store, self._anchors)

    def lists_as_revoked(self, info: CertificateInfo) -> bool:
        """Tell whether a list of its own domain's authorities, stale or not, names it."""
        issuer = x509.load_der_x509_certificate(info.der).issuer
        return any(
            crl.get_revoked_certificate_by_serial_number(info.serial) is not None
            for anchor in self._entitled(info)
            for crl in anchor.crls
            if crl.issuer == issuer
        )

    def verify(self, certificate: x509.Certificate, at: datetime) -> CertificateInfo:
        """Return the certificate's facts if it is good at that time, else raise.

        Raises `CertificateRefusedError`, or `CertificateMalformedError`.
        """
        info = describe(certificate)
        holder = info.identity or info.common_name
        anchors = self._entitled(info)
        if not anchors:
            detail = "no authority is trusted for its domain"
            raise CertificateRefusedError(RefusalReason.UNKNOWN_ISSUER, holder, detail)
        store = crypto.X509Store()
        _fill(store, anchors)
        # pyOpenSSL takes a naive time as UTC.
        store.set_time(at.astimezone(UTC).replace(tzinfo=None))
        try:
            leaf = crypto.X509.from_cryptography(certificate)
            crypto.X509StoreContext(store, leaf).verify_certificate()
        except crypto.X509StoreContextError as error:
            raise CertificateRefusedError(reason_of(error.errors[0]), holder, str(error)) from None
        except crypto.Error:
            raise malformed("OpenSSL cannot read it", "OpenSSL 无法解析") from None
        finally:
            forget_openssl_errors()
        return info

    def period(self, info: CertificateInfo) -> tuple[datetime, datetime]:
        """From when until before when (UTC) all that vouches for a certificate lasts: found good
        at one time within, it is good throughout.
        """
        anchors = self._entitled(info)
        begins, ends = [info.not_before], [info.not_after]
        for anchor in anchors:
            begins.append(anchor.certificate.not_valid_before_utc)
            ends.append(anchor.certificate.not_valid_after_utc)
        for crl in (crl for anchor in anchors for crl in anchor.crls):
            begins.append(crl.last_update_utc)
            if crl.next_update_utc is not None:
                ends.append(crl.next_update_utc)
        return max(begins), min(ends)

    def _entitled(self, info: CertificateInfo) -> list[_Anchor]:
        """Who may certify this holder: nobody may, whose name is none of ours."""
        try:
            domain = identity_domain(info.identity or "")
        except IdentityMalformedError:
            return []
        return [anchor for anchor in self._anchors if domain in anchor.domains]


def verify_chain(
    certificate_pem: bytes, authorities: Sequence[Authority], *, at: datetime
) -> CertificateInfo:
    """Judge one PEM certificate; see `TrustAnchors.verify`."""
    return TrustAnchors(authorities).verify(load_certificate(certificate_pem), at)


def _fill(store: crypto.X509Store, anchors: Iterable[_Anchor]) -> None:
    for anchor in anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor.certificate))
        for crl in anchor.crls:
            store.add_crl(crl)
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.X509_STRICT)


def reason_of(verification_code: int) -> RefusalReason:
    """Translate OpenSSL's verification code."""
    return _REASONS.get(verification_code, RefusalReason.OTHER)


def _is_signed(crl: x509.CertificateRevocationList, authority: CertificateInfo) -> bool:
    try:
        signature = sm2.signature_from_der(crl.signature)
    except (ValueError, OverflowError):
        return False
    return _provider().verify(authority.public_key, crl.tbs_certlist_bytes, signature)


@cache
def _provider() -> GmProvider:
    return open_provider()


def _load_crl(pem: bytes) -> x509.CertificateRevocationList:
    if len(pem) > CRL_SIZE_MAX:
        raise malformed("the CRL is too large", "吊销列表过大")
    try:
        crl = x509.load_pem_x509_crl(pem)
        signature_oid = crl.signature_algorithm_oid.dotted_string
    except (ValueError, x509.InvalidVersion):
        raise malformed("the CRL is not PEM X.509", "吊销列表不是 PEM X.509 格式") from None
    if signature_oid != asn1.SM2_WITH_SM3_OID:
        raise malformed("the CRL is not signed with SM2 and SM3", "吊销列表的签名算法不是 SM2-SM3")
    return crl
