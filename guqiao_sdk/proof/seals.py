"""Whether a key that seals data objects has a certificate for it (G2-19-5): issued by an authority
that is trusted, for sealing, in its period at the time of the object, and not revoked.

The contracts of the regulatory chain, and whoever verifies offline, judge by these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.certificates import Certificate
from guqiao_sdk.proof.der import BITS, OID, SEQUENCE, CertificateError, single
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.revocation_list import SERIAL_OCTETS_MAX, RevocationList
from guqiao_sdk.regions import region_of_did

_SEALING: Final = 0b1100_0000
"""digitalSignature and nonRepudiation: keys of links and of authorities have not both."""

_CERTIFICATES: Final = 0b0000_0100
_LISTS: Final = 0b0000_0010
"""keyCertSign and cRLSign, of an authority whose certificate says what its key is for."""

_PURPOSES: Final = frozenset(bytes.fromhex(each) for each in ("2b06010505070324", "551d2500"))
"""Document signing (RFC 9336), or any."""


class SealError(ValueError):
    """A certificate does not stand for a seal: `code` of the rule catalogue, and facts."""

    def __init__(self, code: str, **fields: Json) -> None:
        super().__init__(f"{code} {fields}")
        self.code = code
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is known of an authority's lists: the periods in which one was in force, and when it
    revoked one certificate, or None.

    An authority may leave out a certificate that it revoked once a list came out after the
    certificate's end (RFC 5280, 3.3): such a list says of it only that it was revoked.
    """

    periods: Sequence[tuple[int, int]]
    revoked_ms: int | None

    @classmethod
    def of(cls, lists: Iterable[RevocationList], certificate: Certificate) -> Revocations | None:
        """What one authority's lists say of one certificate: the newest that can. None of none."""
        newest_first = sorted(lists, key=lambda each: each.number, reverse=True)
        if not newest_first:
            return None
        telling = (
            each.revoked.get(certificate.serial)
            for each in newest_first
            if certificate.serial in each.revoked or each.this_update_ms <= certificate.not_after_ms
        )
        periods = [(each.this_update_ms, each.next_update_ms) for each in newest_first]
        return cls(periods, next(telling, None))

    @property
    def end_ms(self) -> int:
        """Until when the last of them is in force."""
        return max(end for _, end in self.periods)

    def can_clear(self, certificate: Certificate, at_ms: int) -> bool:
        """One came out before the certificate's end and was in force at that time or later."""
        return any(
            start <= certificate.not_after_ms and at_ms <= end for start, end in self.periods
        )


def require_for_sealing(certificate: Certificate, region: str, operator_code: str) -> None:
    """The certificate is for sealing, and of somebody of that region's market or of its operator.

    Raises `SealError`.
    """
    _require_purpose(certificate)
    regions = {region_of_did(each) for each in certificate.identities}
    if region not in regions and operator_code not in certificate.codes:
        raise SealError("SEAL_HOLDER_OTHER", holder=certificate.organisation, region=region)


def require_revocable(certificate: Certificate) -> None:
    """A list can name the certificate: its serial number is positive and of at most 20 octets.

    Raises `SealError`.
    """
    if not 0 < certificate.serial < 1 << (8 * SERIAL_OCTETS_MAX - 1):
        fault = f"the serial number is not positive and of at most {SERIAL_OCTETS_MAX} octets"
        raise SealError("CERTIFICATE_MALFORMED", fault=fault)


def issuer_among(
    certificate: Certificate | RevocationList, roots: Iterable[Certificate], verify: Verify
) -> Certificate:
    """The authority that signed it, with a key for that; raises `SealError`."""
    use = _LISTS if isinstance(certificate, RevocationList) else _CERTIFICATES
    for root in roots:
        is_for_it = root.key_usage is None or _uses(root.key_usage) & use != 0
        is_signed = root.subject == certificate.issuer and verify(
            root.public_key, certificate.signed, certificate.signature
        )
        if is_signed and root.is_authority and is_for_it:
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
    """At `at_ms` the certificate and its root were in their periods and it was not revoked, by
    lists that have not ended at `listed_ms` and could say so: not to know is not to trust. Raises
    `SealError`.
    """
    for each in (certificate, root):
        if not each.not_before_ms <= at_ms <= each.not_after_ms:
            raise SealError("CERTIFICATE_EXPIRED", holder=each.organisation)
    if known is None:
        raise SealError("CRL_MISSING", authority=root.organisation)
    if known.end_ms < listed_ms:
        raise SealError("CRL_STALE", authority=root.organisation)
    if known.revoked_ms is None and not known.can_clear(certificate, at_ms):
        raise SealError("CRL_TOO_LATE", holder=certificate.organisation)
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
        _require_purpose(certificate)
        root = issuer_among(certificate, self.roots, verify)
        own = [each for each in self.lists if self._is_of(each, root, verify)]
        known = Revocations.of(own, certificate)
        require_in_force(certificate, root, known, at_ms=at_ms, listed_ms=at_ms)

    def _is_of(self, found: RevocationList, root: Certificate, verify: Verify) -> bool:
        try:
            return issuer_among(found, [root], verify) is root
        except SealError:
            return False


def _require_purpose(certificate: Certificate) -> None:
    require_revocable(certificate)
    is_for_sealing = _uses(certificate.key_usage) & _SEALING == _SEALING
    if certificate.is_authority or not (is_for_sealing and _has_purpose(certificate)):
        raise SealError("CERTIFICATE_PURPOSE_WRONG", holder=certificate.organisation)


def _uses(key_usage: bytes | None) -> int:
    """The first eight uses, from digitalSignature on; none of what is not in the form of DER."""
    try:
        bits = single(key_usage or b"", BITS).content
    except CertificateError:
        return 0
    if len(bits) not in (2, 3) or bits[0] > 7:
        return 0
    is_shortest = bits[-1] & ((2 << bits[0]) - 1) == 1 << bits[0]
    return bits[1] if is_shortest else 0


def _has_purpose(certificate: Certificate) -> bool:
    """Where a certificate insists on its extended purposes, sealing is one."""
    if certificate.critical_purposes is None:
        return True
    try:
        purposes = single(certificate.critical_purposes, SEQUENCE).parts()
        return any(each.must(OID).content in _PURPOSES for each in purposes)
    except CertificateError:
        return False
