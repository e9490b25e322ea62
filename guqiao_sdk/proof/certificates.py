"""SM2 certificates as contracts and offline verifiers read them: one strict encoding, here alone.

Replicas must agree on every byte, so no library whose next version may read otherwise is asked.
What X.509 allows and nobody here has a use for is refused: other algorithms, multi-byte tags,
indefinite lengths, unknown critical extensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm import sm2
from guqiao_sdk.proof.der import (
    INTEGER,
    OCTETS,
    OID,
    SEQUENCE,
    SET,
    SM2_WITH_SM3,
    TEXTS,
    TRUE,
    CertificateError,
    Piece,
    read_pem,
    signature_of,
    single,
    text_of,
    time_ms,
)

PEM_LENGTH_MAX: Final = 8_192
_VERSION_3: Final = bytes.fromhex("a003020102")
_EXTENSIONS: Final = 0xA3
_KEY_INFO: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
_ORGANISATION, _SERIAL_NUMBER, _ORGANISATION_ID = (
    bytes.fromhex(each) for each in ("55040a", "550405", "550461")
)
_CONSTRAINTS, _ALTERNATIVE_NAMES, _KEY_USAGE, _PURPOSES = (
    bytes.fromhex(each) for each in ("551d13", "551d11", "551d0f", "551d25")
)
_KNOWN: Final = frozenset({_CONSTRAINTS, _ALTERNATIVE_NAMES, _KEY_USAGE, _PURPOSES})
_URI: Final = 0x86


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is asked of a certificate. `codes` are the names beside the organisation's that may hold
    its credit code: serial number, organisation identifier, and the codes of DIDs. `identities` are
    the URIs among its alternative names, `key_usage` that extension as it stands, where it does,
    and `critical_purposes` the extended key usage, where it is critical.
    """

    signed: bytes
    signature: bytes
    issuer: bytes
    subject: bytes
    organisation: str
    codes: frozenset[str]
    public_key: bytes
    not_before_ms: int
    not_after_ms: int
    is_authority: bool
    serial: int
    identities: tuple[str, ...]
    key_usage: bytes | None
    critical_purposes: bytes | None


@dataclass(frozen=True, slots=True)
class Extensions:
    """What is read of a certificate's extensions: see `Certificate`."""

    is_authority: bool
    identities: tuple[str, ...]
    key_usage: bytes | None
    critical_purposes: bytes | None


def parse_certificate_pem(pem: str) -> Certificate:
    """Read a certificate; raises `CertificateError`."""
    return _certificate(read_pem(pem, "CERTIFICATE", PEM_LENGTH_MAX))


def _certificate(der: bytes) -> Certificate:
    parts = single(der, SEQUENCE).parts()
    if len(parts) != 3 or parts[1].whole not in SM2_WITH_SM3:
        raise CertificateError("not signed with SM2 and SM3")
    signed = parts[0].must(SEQUENCE)
    fields = signed.parts()
    if len(fields) != 8 or fields[0].whole != _VERSION_3 or fields[2].whole != parts[1].whole:
        raise CertificateError("not of version 3 with extensions")
    _, serial, _, issuer, validity, subject, key, extensions = fields
    serial.must(INTEGER)
    not_before, not_after = _validity(validity)
    names = _names(subject)
    stated = read_extensions(extensions)
    organisations = [text for oid, text in names if oid == _ORGANISATION]
    if len(organisations) != 1:
        raise CertificateError("the subject names not exactly one organisation")
    codes = {text for oid, text in names if oid in (_SERIAL_NUMBER, _ORGANISATION_ID)}
    return Certificate(
        signed=signed.whole,
        signature=signature_of(parts[2]),
        issuer=issuer.must(SEQUENCE).whole,
        subject=subject.whole,
        organisation=organisations[0],
        codes=frozenset(codes | {_code_of(each) for each in stated.identities}),
        public_key=_public_key(key.whole),
        not_before_ms=not_before,
        not_after_ms=not_after,
        is_authority=stated.is_authority,
        serial=int.from_bytes(serial.content, "big", signed=True),
        identities=stated.identities,
        key_usage=stated.key_usage,
        critical_purposes=stated.critical_purposes,
    )


def _public_key(info: bytes) -> bytes:
    point = info[len(_KEY_INFO) :]
    if info[: len(_KEY_INFO)] != _KEY_INFO or not sm2.is_public_key(point):
        raise CertificateError("not an SM2 key")
    return point


def _names(name: Piece) -> list[tuple[bytes, str]]:
    found: list[tuple[bytes, str]] = []
    for relative in name.must(SEQUENCE).parts():
        for attribute in relative.must(SET).parts():
            pair = attribute.must(SEQUENCE).parts()
            if len(pair) != 2:
                raise CertificateError("a name is not a pair")
            oid, value = pair[0].must(OID).content, pair[1]
            found.append((oid, text_of(value.content, TEXTS.get(value.tag))))
    return found


def _validity(piece: Piece) -> tuple[int, int]:
    times = [time_ms(each) for each in piece.must(SEQUENCE).parts()]
    if len(times) != 2 or times[0] > times[1]:
        raise CertificateError("its validity is no period")
    return times[0], times[1]


def read_extensions(piece: Piece) -> Extensions:
    """Of the field that holds them; raises `CertificateError`."""
    seen: set[bytes] = set()
    key_usage: bytes | None = None
    critical_purposes: bytes | None = None
    is_authority, identities = False, list[str]()
    for extension in single(piece.must(_EXTENSIONS).content, SEQUENCE).parts():
        parts = extension.must(SEQUENCE).parts()
        is_critical = len(parts) == 3 and parts[1].whole == TRUE
        if len(parts) != 2 and not is_critical:
            raise CertificateError("an extension has another form")
        oid, value = parts[0].must(OID).content, parts[-1].must(OCTETS).content
        if oid in seen or (is_critical and oid not in _KNOWN):
            raise CertificateError("an extension stands twice, or is critical and unknown")
        seen.add(oid)
        if oid == _CONSTRAINTS:
            constraints = single(value, SEQUENCE).parts()
            is_authority = bool(constraints) and constraints[0].whole == TRUE
        elif oid == _ALTERNATIVE_NAMES:
            names = single(value, SEQUENCE).parts()
            identities = [text_of(each.content, "ascii") for each in names if each.tag == _URI]
        elif oid == _KEY_USAGE:
            key_usage = value
        elif oid == _PURPOSES and is_critical:
            critical_purposes = value
    return Extensions(is_authority, tuple(identities), key_usage, critical_purposes)


def _code_of(identity: str) -> str:
    """The credit code in `did:rem:<region>:<code>` or `did:rem:<region>:<code>.<name>`."""
    parts = identity.split(":")
    is_did = len(parts) == 4 and parts[:2] == ["did", "rem"]
    return parts[3].partition(".")[0] if is_did else ""
