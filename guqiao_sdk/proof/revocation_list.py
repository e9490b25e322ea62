"""Revocation lists of SM2 authorities (X.509 CRLs of version 2), in the one encoding of DER.

A list is whole: a delta, one for some certificates only, or one that speaks for other authorities
says so in a critical extension, and those are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.der import (
    INTEGER,
    OCTETS,
    OID,
    SEQUENCE,
    SM2_WITH_SM3,
    CertificateError,
    Piece,
    integer_of,
    read_pem,
    signature_of,
    single,
    time_ms,
)

CRL_LENGTH_MAX: Final = 262_144
"""Characters of PEM: some 4,000 certificates."""

CRL_ENTRIES_MAX: Final = 4_096
SERIAL_OCTETS_MAX: Final = 20
"""RFC 5280, 4.1.2.2."""

_NUMBER_OCTETS_MAX: Final = 21
_LABEL: Final = "X509 CRL"
_VERSION_2: Final = bytes.fromhex("020101")
_EXTENSIONS: Final = 0xA0
_CRL_NUMBER: Final = bytes.fromhex("551d14")


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What an authority says it revoked: serial numbers with the times, in milliseconds since 1970.

    `issuer` is the authority's name as it stands. `number` only grows.
    """

    signed: bytes
    signature: bytes
    issuer: bytes
    number: int
    this_update_ms: int
    next_update_ms: int
    revoked: Mapping[int, int]


def parse_revocation_list_pem(pem: str) -> RevocationList:
    """Read a revocation list; raises `CertificateError`. Its signature is the caller's to judge."""
    parts = single(read_pem(pem, _LABEL, CRL_LENGTH_MAX), SEQUENCE).parts()
    if len(parts) != 3 or parts[1].whole not in SM2_WITH_SM3:
        raise CertificateError("not signed with SM2 and SM3")
    signed = parts[0].must(SEQUENCE)
    fields = signed.parts()
    has_entries = len(fields) == 7
    if len(fields) not in (6, 7) or fields[0].whole != _VERSION_2:
        raise CertificateError("not of version 2 with its end and extensions")
    if fields[1].whole != parts[1].whole:
        raise CertificateError("not signed with SM2 and SM3")
    this_update, next_update = time_ms(fields[3]), time_ms(fields[4])
    if this_update >= next_update:
        raise CertificateError("its validity is no period")
    return RevocationList(
        signed=signed.whole,
        signature=signature_of(parts[2]),
        issuer=fields[2].must(SEQUENCE).whole,
        number=_number(fields[-1]),
        this_update_ms=this_update,
        next_update_ms=next_update,
        revoked=_revoked(fields[5]) if has_entries else {},
    )


def _revoked(piece: Piece) -> dict[int, int]:
    entries = piece.must(SEQUENCE).parts()
    if len(entries) > CRL_ENTRIES_MAX:
        raise CertificateError(f"more than {CRL_ENTRIES_MAX} certificates")
    found: dict[int, int] = {}
    for entry in entries:
        parts = entry.must(SEQUENCE).parts()
        if len(parts) not in (2, 3):
            raise CertificateError("an entry is neither a pair nor one with extensions")
        if len(parts) == 3:
            _plain_extensions(parts[2].must(SEQUENCE).parts())
        serial = integer_of(parts[0], SERIAL_OCTETS_MAX)
        if serial in found:
            raise CertificateError("a certificate stands twice")
        found[serial] = time_ms(parts[1])
    return found


def _number(piece: Piece) -> int:
    extensions = single(piece.must(_EXTENSIONS).content, SEQUENCE).parts()
    value = _plain_extensions(extensions).get(_CRL_NUMBER)
    if value is None:
        raise CertificateError("the list has no number")
    number = integer_of(single(value, INTEGER), _NUMBER_OCTETS_MAX)
    if not 0 <= number < 1 << 160:
        raise CertificateError("the list's number has another form")
    return number


def _plain_extensions(extensions: Sequence[Piece]) -> dict[bytes, bytes]:
    """By their ids; one that is critical changes what the list means, and is refused."""
    found: dict[bytes, bytes] = {}
    for extension in extensions:
        parts = extension.must(SEQUENCE).parts()
        if len(parts) != 2:
            raise CertificateError("an extension has another form or is critical")
        oid = parts[0].must(OID).content
        if oid in found:
            raise CertificateError("an extension stands twice")
        found[oid] = parts[1].must(OCTETS).content
    return found
