"""What a certificate says, read strictly: holder, organisation, SM2 point, validity, serial.

Reading is not believing: `chain.py` judges. What is not an SM2 certificate signed with SM2 and SM3,
or names its holder twice, is malformed here, so that nobody downstream meets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from guqiao_sdk.gm import asn1
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.sm3 import sm3

PEM_SIZE_MAX: Final = 64 * 1024


class CertificateMalformedError(GmError):
    """The bytes are no SM2 certificate, or one that breaks our rules of form."""

    code = "CERTIFICATE_MALFORMED"


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """The facts of one certificate. `identity` is None for an authority's own certificate."""

    serial: int
    identity: str | None
    organisation: str
    common_name: str
    issuer_common_name: str
    public_key: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    is_authority: bool
    fingerprint: bytes = field(repr=False)
    der: bytes = field(repr=False)


def parse_certificate(pem: bytes) -> CertificateInfo:
    """Read one PEM certificate, or raise `CertificateMalformedError`."""
    return describe(load_certificate(pem))


def load_certificate(pem: bytes) -> x509.Certificate:
    """Return the parsed object for those who hand it on to OpenSSL."""
    if len(pem) > PEM_SIZE_MAX:
        raise malformed(f"it has more than {PEM_SIZE_MAX} bytes", f"超过 {PEM_SIZE_MAX} 字节")
    try:
        return x509.load_pem_x509_certificate(pem)
    except x509.InvalidVersion:
        raise malformed("it is not X.509 version 3", "不是 X.509 第 3 版") from None
    except ValueError:
        raise malformed("it is not PEM X.509", "不是 PEM X.509 格式") from None


def describe(certificate: x509.Certificate) -> CertificateInfo:
    """Read an already parsed certificate, or raise `CertificateMalformedError`."""
    der = certificate.public_bytes(Encoding.DER)
    if certificate.version is not x509.Version.v3:
        raise malformed("it is not X.509 version 3", "不是 X.509 第 3 版")
    try:
        signature_oid = certificate.signature_algorithm_oid.dotted_string
        public_key = asn1.public_key_of(certificate.tbs_certificate_bytes)
        identity = _identity(certificate)
        is_authority = _is_authority(certificate)
        organisation = _name(certificate.subject, NameOID.ORGANIZATION_NAME)
        common_name = _name(certificate.subject, NameOID.COMMON_NAME)
        issuer_common_name = _name(certificate.issuer, NameOID.COMMON_NAME)
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise malformed("its fields cannot be read", "其字段无法解析") from None
    if public_key is None or signature_oid != asn1.SM2_WITH_SM3_OID:
        raise malformed(
            "it is not an SM2 key signed with SM2 and SM3", "密钥不是 SM2,或签名算法不是 SM2-SM3"
        )
    return CertificateInfo(
        serial=certificate.serial_number,
        identity=identity,
        organisation=organisation,
        common_name=common_name,
        issuer_common_name=issuer_common_name,
        public_key=public_key,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=is_authority,
        fingerprint=sm3(der),
        der=der,
    )


def malformed(en: str, zh: str) -> CertificateMalformedError:
    """Build the error, with the same opening everywhere."""
    return CertificateMalformedError(f"certificate refused: {en}", f"拒绝证书:{zh}")


def _identity(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) > 1:
        raise ValueError("more than one identity")
    return uris[0] if uris else None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _name(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(oid)
    if len(values) != 1:
        raise ValueError("not exactly one value")
    value = values[0].value
    return value if isinstance(value, str) else value.decode()
