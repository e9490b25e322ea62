"""A certificate authority in pure Python: ASN.1 by asn1crypto, signatures by our own provider.

One root issues to replicas, services and users directly; there are no intermediate authorities.
What a certificate may be used for follows from the kind of its identity: only replicas and services
can open links, users can only sign. The authority keeps no state: the caller hands it the list of
revoked certificates, or the previous list to extend.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

from asn1crypto import core, crl, pem, x509

from guqiao_sdk.gm import asn1, sm2
from guqiao_sdk.gm.certificates.info import malformed, parse_certificate
from guqiao_sdk.gm.certificates.names import IdentityKind, identity_kind
from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.gm.sm3 import sm3

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1")
_SERIAL_BITS: Final = 127
_KEY_ID_SIZE: Final = 20
_UTC_TIME_YEAR_MAX: Final = 2049
_DOCUMENT_SIGNING_OID: Final = "1.3.6.1.5.5.7.3.36"  # RFC 9336: no TLS with a user's key.


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """One entry of a revocation list."""

    serial: int
    at: datetime


class CertificateAuthority:
    """The holder of a root key. Every time is given by the caller; the authority reads no clock."""

    def __init__(
        self, provider: GmProvider, certificate_pem: bytes, private_key: PrivateKey
    ) -> None:
        info = parse_certificate(certificate_pem)
        if not info.is_authority or info.public_key != private_key.public_key:
            raise malformed(
                "it is not an authority's certificate for this key", "它不是该密钥的 CA 证书"
            )
        self._provider = provider
        self._private_key = private_key
        self._name = x509.Certificate.load(info.der)["tbs_certificate"]["subject"]
        self.certificate_pem: Final = certificate_pem
        self.info: Final = info

    @classmethod
    def create(
        cls,
        provider: GmProvider,
        private_key: PrivateKey,
        *,
        organisation: str,
        common_name: str,
        not_before: datetime,
        not_after: datetime,
    ) -> CertificateAuthority:
        """Make a root: a certificate that `private_key` signs for itself."""
        name = _name(organisation, common_name)
        key_id = _key_id(private_key.public_key)
        extensions = [
            _extension("basic_constraints", {"ca": True, "path_len_constraint": 0}, critical=True),
            _extension("key_usage", {"key_cert_sign", "crl_sign"}, critical=True),
            _extension("key_identifier", key_id),
            _extension("authority_key_identifier", {"key_identifier": key_id}),
        ]
        body = _body(name, name, private_key.public_key, (not_before, not_after), extensions)
        return cls(provider, _signed(provider, private_key, body), private_key)

    def issue(
        self,
        identity: str,
        public_key: bytes,
        *,
        organisation: str,
        common_name: str,
        not_before: datetime,
        not_after: datetime,
        hosts: Sequence[str] = LOOPBACK_HOSTS,
    ) -> bytes:
        """Return a PEM certificate for `identity`; `hosts` are DNS names and IP addresses."""
        if not sm2.is_public_key(public_key):
            raise malformed("the public key is no SM2 point", "公钥不是 SM2 曲线上的点")
        kind = identity_kind(identity)
        extensions = [
            _extension("basic_constraints", {"ca": False}, critical=True),
            _extension("key_usage", _key_usage(kind), critical=True),
            _extension("extended_key_usage", _purposes(kind)),
            _extension("key_identifier", _key_id(public_key)),
            _extension(
                "authority_key_identifier", {"key_identifier": _key_id(self.info.public_key)}
            ),
            _extension("subject_alt_name", _alternative_names(identity, kind, hosts)),
        ]
        subject = _name(organisation, common_name)
        body = _body(self._name, subject, public_key, (not_before, not_after), extensions)
        return _signed(self._provider, self._private_key, body)

    def issue_crl(
        self,
        revoked: Iterable[RevokedCertificate],
        *,
        this_update: datetime,
        next_update: datetime,
        number: int = 1,
    ) -> bytes:
        """Return a PEM revocation list. After `next_update` every check against it refuses."""
        _check_period(this_update, next_update)
        entries = [
            {"user_certificate": entry.serial, "revocation_date": _time(entry.at)}
            for entry in sorted(revoked, key=lambda entry: entry.serial)
        ]
        body = crl.TbsCertList(
            {
                "version": "v2",
                "signature": _signature_algorithm(),
                "issuer": self._name,
                "this_update": _time(this_update),
                "next_update": _time(next_update),
                "revoked_certificates": entries or None,
                "crl_extensions": [
                    {"extn_id": "crl_number", "extn_value": number},
                    {
                        "extn_id": "authority_key_identifier",
                        "extn_value": {"key_identifier": _key_id(self.info.public_key)},
                    },
                ],
            }
        )
        signature = self._provider.sign(self._private_key, body.dump())
        whole = crl.CertificateList(
            {
                "tbs_cert_list": body,
                "signature_algorithm": _signature_algorithm(),
                "signature": sm2.signature_to_der(signature),
            }
        )
        armoured: bytes = pem.armor("X509 CRL", whole.dump())
        return armoured

    def reissue_crl(
        self,
        previous_pem: bytes,
        *,
        this_update: datetime,
        next_update: datetime,
        also_revoked: Iterable[RevokedCertificate] = (),
    ) -> bytes:
        """Return a newer list with everything in `previous_pem`, and `also_revoked`."""
        number, known = self._read_crl(previous_pem)
        for entry in also_revoked:
            known.setdefault(entry.serial, entry)
        return self.issue_crl(
            known.values(), this_update=this_update, next_update=next_update, number=number + 1
        )

    def _read_crl(self, previous_pem: bytes) -> tuple[int, dict[int, RevokedCertificate]]:
        try:
            _, _, der = pem.unarmor(previous_pem)
            whole = crl.CertificateList.load(der, strict=True)
            body = whole["tbs_cert_list"]
            signature = sm2.signature_from_der(whole["signature"].native)
            signed = body.dump()
            number = whole.crl_number_value.native
            known = {
                entry["user_certificate"].native: RevokedCertificate(
                    entry["user_certificate"].native, entry["revocation_date"].native
                )
                for entry in body["revoked_certificates"]
            }
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
            raise malformed("the previous CRL cannot be read", "无法解析上一份 CRL") from None
        if not self._provider.verify(self.info.public_key, signed, signature):
            raise malformed("the previous CRL is not ours", "上一份 CRL 不是本机构签发")
        return number, known


def _body(
    issuer: Any,
    subject: Any,
    public_key: bytes,
    validity: tuple[datetime, datetime],
    extensions: list[dict[str, Any]],
) -> Any:
    not_before, not_after = validity
    _check_period(not_before, not_after)
    return x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": secrets.randbits(_SERIAL_BITS) + 1,
            "signature": _signature_algorithm(),
            "issuer": issuer,
            "validity": {"not_before": _time(not_before), "not_after": _time(not_after)},
            "subject": subject,
            "subject_public_key_info": asn1.public_key_info(public_key),
            "extensions": extensions,
        }
    )


def _signed(provider: GmProvider, private_key: PrivateKey, body: Any) -> bytes:
    signature = provider.sign(private_key, body.dump())
    whole = x509.Certificate(
        {
            "tbs_certificate": body,
            "signature_algorithm": _signature_algorithm(),
            "signature_value": sm2.signature_to_der(signature),
        }
    )
    armoured: bytes = pem.armor("CERTIFICATE", whole.dump())
    return armoured


def _signature_algorithm() -> dict[str, str]:
    return {"algorithm": asn1.SM2_WITH_SM3_OID}


def _name(organisation: str, common_name: str) -> Any:
    return x509.Name.build(
        {"country_name": "CN", "organization_name": organisation, "common_name": common_name}
    )


def _key_id(public_key: bytes) -> bytes:
    return sm3(public_key)[:_KEY_ID_SIZE]


def _extension(name: str, value: object, *, critical: bool = False) -> dict[str, Any]:
    return {"extn_id": name, "critical": critical, "extn_value": value}


def _key_usage(kind: IdentityKind) -> set[str]:
    return {"digital_signature"} | ({"non_repudiation"} if kind is IdentityKind.USER else set())


def _purposes(kind: IdentityKind) -> list[str]:
    return [_DOCUMENT_SIGNING_OID] if kind is IdentityKind.USER else ["server_auth", "client_auth"]


def _alternative_names(identity: str, kind: IdentityKind, hosts: Sequence[str]) -> list[Any]:
    names = [x509.GeneralName(name="uniform_resource_identifier", value=identity)]
    if kind is not IdentityKind.USER:
        names.extend(_host_name(host) for host in hosts)
    return names


def _host_name(host: str) -> Any:
    try:
        ip_address(host)
    except ValueError:
        return x509.GeneralName(name="dns_name", value=host)
    return x509.GeneralName(name="ip_address", value=host)


def _check_period(start: datetime, end: datetime) -> None:
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise malformed(
            f"its validity from {start} to {end} is empty or lacks a time zone",
            f"有效期 {start} 至 {end} 为空或缺少时区",
        )


def _time(moment: datetime) -> Any:
    utc = moment.astimezone(UTC).replace(microsecond=0)
    if utc.year <= _UTC_TIME_YEAR_MAX:
        return x509.Time(name="utc_time", value=core.UTCTime(utc))
    return x509.Time(name="general_time", value=core.GeneralizedTime(utc))
