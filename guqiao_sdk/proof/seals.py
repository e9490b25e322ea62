"""Whether a key that seals data objects has a certificate for it (G2-19-5): issued by an authority
that is trusted, for sealing, in its period at the time of the object, and not revoked.

The contracts of the regulatory chain, and whoever verifies offline, judge by these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.certificates import Certificate
from guqiao_sdk.proof.der import BITS, CertificateError, single
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.revocation_list import RevocationList
from guqiao_sdk.regions import region_of_did

_SEALING: Final = 0b1100_0000
"""digitalSignature and nonRepudiation: keys of links and of authorities have not both."""


class SealError(ValueError):
    """A certificate does not stand for a seal: `code` of the rule catalogue, and facts."""

    def __init__(self, code: str, **fields: Json) -> None:
        super().__init__(f"{code} {fields}")
        self.code = code
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is known of an authority's list: its period, and when it revoked one certificate."""

    this_update_ms: int
    next_update_ms: int
    revoked_ms: int | None

    @classmethod
    def of(cls, found: RevocationList, serial: int) -> Revocations:
        """What a list says of one certificate."""
        return cls(found.this_update_ms, found.next_update_ms, found.revoked.get(serial))


def require_for_sealing(certificate: Certificate, region: str, operator_code: str) -> None:
    """The certificate is for sealing, and of somebody of that region's market or of its operator.

    Raises `SealError`.
    """
    if certificate.is_authority or not _is_for_sealing(certificate.key_usage):
        raise SealError("CERTIFICATE_PURPOSE_WRONG", holder=certificate.organisation)
    regions = {region_of_did(each) for each in certificate.identities}
    if region not in regions and operator_code not in certificate.codes:
        raise SealError("SEAL_HOLDER_OTHER", holder=certificate.organisation, region=region)


def issuer_among(
    certificate: Certificate | RevocationList, roots: Iterable[Certificate], verify: Verify
) -> Certificate:
    """The authority that signed it; raises `SealError`."""
    for root in roots:
        is_signed = root.subject == certificate.issuer and verify(
            root.public_key, certificate.signed, certificate.signature
        )
        if is_signed and root.is_authority:
            return root
    raise SealError("CERTIFICATE_UNTRUSTED")


def require_in_force(
    certificate: Certificate,
    root: Certificate,
    known: Revocations | None,
    *,
    at_ms: int,
    listed_ms: int,
) -> None:
    """At `at_ms` the certificate and its root were in their periods and it was not revoked, by a
    list that has not ended at `listed_ms`: not to know is not to trust. Raises `SealError`.
    """
    for each in (certificate, root):
        if not each.not_before_ms <= at_ms <= each.not_after_ms:
            raise SealError("CERTIFICATE_EXPIRED", holder=each.organisation)
    if known is None:
        raise SealError("CRL_MISSING", authority=root.organisation)
    if known.next_update_ms < listed_ms:
        raise SealError("CRL_STALE", authority=root.organisation)
    if known.revoked_ms is not None and known.revoked_ms <= at_ms:
        raise SealError("CERTIFICATE_REVOKED", holder=certificate.organisation)


@dataclass(frozen=True, slots=True)
class Authorities:
    """What an offline verifier believes: roots, their lists, and certificates that they issued."""

    roots: Sequence[Certificate]
    lists: Sequence[RevocationList]
    certificates: Sequence[Certificate]

    def certificate_of(self, public_key: bytes, at_ms: int, verify: Verify) -> Certificate:
        """The certificate that stood for a seal of this key at that time; raises `SealError`."""
        found = [each for each in self.certificates if each.public_key == public_key]
        fault = SealError("SEAL_UNCERTIFIED", key=public_key.hex())
        for certificate in found:
            try:
                self._require_good(certificate, at_ms, verify)
            except SealError as error:
                fault = error
            else:
                return certificate
        raise fault

    def _require_good(self, certificate: Certificate, at_ms: int, verify: Verify) -> None:
        if certificate.is_authority or not _is_for_sealing(certificate.key_usage):
            raise SealError("CERTIFICATE_PURPOSE_WRONG", holder=certificate.organisation)
        root = issuer_among(certificate, self.roots, verify)
        own = [each for each in self.lists if self._is_of(each, root, verify)]
        newest = max(own, key=lambda each: each.number, default=None)
        known = None if newest is None else Revocations.of(newest, certificate.serial)
        require_in_force(certificate, root, known, at_ms=at_ms, listed_ms=at_ms)

    def _is_of(self, found: RevocationList, root: Certificate, verify: Verify) -> bool:
        try:
            return issuer_among(found, [root], verify) is root
        except SealError:
            return False


def _is_for_sealing(key_usage: bytes | None) -> bool:
    if key_usage is None:
        return False
    try:
        bits = single(key_usage, BITS).content
    except CertificateError:
        return False
    return len(bits) >= 2 and bits[1] & _SEALING == _SEALING
