"""A small world of certificates for the tests: an authority, one certificate, an empty list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from guqiao_sdk.gm.certificates import Authority, CertificateAuthority, verify_chain
from guqiao_sdk.gm.provider import GmProvider, PrivateKey

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = START + 10 * DAY
REPLICA = "guqiao:replica:shandong/2"


@dataclass(frozen=True, slots=True)
class World:
    """An authority, one certificate of a replica, and an empty revocation list."""

    provider: GmProvider
    authority: CertificateAuthority
    key: PrivateKey
    certificate: bytes
    crl: bytes

    def issue(self, identity: str = REPLICA, *, start: datetime = START, days: int = 100) -> bytes:
        return self.authority.issue(
            identity,
            self.key.public_key,
            organisation="示例股权交易中心",
            common_name=identity,
            not_before=start,
            not_after=start + days * DAY,
        )

    def judge(self, certificate: bytes, *, crl: bytes | None = None, at: datetime = NOW) -> None:
        verify_chain(certificate, [trusted(self.authority, crl or self.crl)], at=at)


def trusted(authority: CertificateAuthority, *crls: bytes, domain: str = "shandong") -> Authority:
    return Authority(authority.certificate_pem, crls, frozenset({domain}))


def make_authority(provider: GmProvider, name: str = "Guqiao Root") -> CertificateAuthority:
    return CertificateAuthority.create(
        provider,
        provider.keygen(),
        organisation="示例监管机构",
        common_name=name,
        not_before=START,
        not_after=START + 3650 * DAY,
    )
