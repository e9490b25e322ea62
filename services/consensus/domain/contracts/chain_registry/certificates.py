"""SM2 certificates as the contract `chains` reads them: one strict encoding, in this module alone.

Replicas must agree on every byte, so no library whose next version may read otherwise is asked.
What X.509 allows and the registration has no use for is refused: other algorithms, multi-byte tags,
indefinite lengths, unknown critical extensions.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from guqiao_sdk.gm import sm2

PEM_LENGTH_MAX: Final = 8_192
_PEM: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END CERTIFICATE-----\n?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _OID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06
_TRUE: Final = bytes.fromhex("0101ff")
_VERSION_3: Final = bytes.fromhex("a003020102")
_EXTENSIONS: Final = 0xA3
_SM2_WITH_SM3: Final = tuple(
    bytes.fromhex(each) for each in ("300a06082a811ccf55018375", "300c06082a811ccf550183750500")
)
_KEY_INFO: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
_ORGANISATION, _SERIAL_NUMBER, _ORGANISATION_ID = (
    bytes.fromhex(each) for each in ("55040a", "550405", "550461")
)
_CONSTRAINTS, _ALTERNATIVE_NAMES, _KEY_USAGE, _PURPOSES = (
    bytes.fromhex(each) for each in ("551d13", "551d11", "551d0f", "551d25")
)
_KNOWN: Final = frozenset({_CONSTRAINTS, _ALTERNATIVE_NAMES, _KEY_USAGE, _PURPOSES})
_URI: Final = 0x86
_TEXTS: Final = {0x0C: "utf-8", 0x13: "ascii"}
_TIMES: Final = {
    0x17: re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z"),
    0x18: re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z"),
}


class CertificateError(ValueError):
    """These are not the bytes of a certificate of this form."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is asked of a certificate. `codes` are the names beside the organisation's that may hold
    its credit code: serial number, organisation identifier, and the codes of DIDs.
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


def parse_certificate_pem(pem: str) -> Certificate:
    """Read a certificate; raises `CertificateError`."""
    found = _PEM.fullmatch(pem) if len(pem) <= PEM_LENGTH_MAX else None
    if found is None:
        raise CertificateError("not one PEM certificate")
    try:
        der = base64.b64decode(found[1].replace("\n", ""), validate=True)
    except binascii.Error as error:
        raise CertificateError("not base64") from error
    return _certificate(der)


@dataclass(frozen=True, slots=True)
class _Piece:
    tag: int
    content: bytes
    whole: bytes

    def must(self, tag: int) -> _Piece:
        if self.tag != tag:
            raise CertificateError(f"a piece {self.tag:#x} instead of {tag:#x}")
        return self

    def parts(self) -> list[_Piece]:
        """The pieces within."""
        found: list[_Piece] = []
        rest = self.content
        while rest:
            piece = _piece(rest)
            found.append(piece)
            rest = rest[len(piece.whole) :]
        return found


def _piece(data: bytes) -> _Piece:
    """The first piece of `data`, in its only encoding."""
    if len(data) < 2 or data[0] & 0x1F == 0x1F:
        raise CertificateError("a piece is cut off or has a long tag")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
        is_shortest = 2 < start <= 5 and size >= 0x80 and data[2] != 0
        if not is_shortest:
            raise CertificateError("a length is not in its shortest form")
    end = start + size
    if end > len(data):
        raise CertificateError("a piece is cut off")
    return _Piece(data[0], data[start:end], data[:end])


def _single(data: bytes, tag: int) -> _Piece:
    piece = _piece(data).must(tag)
    if len(piece.whole) != len(data):
        raise CertificateError("bytes stand behind the end")
    return piece


def _certificate(der: bytes) -> Certificate:
    parts = _single(der, _SEQUENCE).parts()
    if len(parts) != 3 or parts[1].whole not in _SM2_WITH_SM3:
        raise CertificateError("not signed with SM2 and SM3")
    signed = parts[0].must(_SEQUENCE)
    fields = signed.parts()
    if len(fields) != 8 or fields[0].whole != _VERSION_3 or fields[2].whole != parts[1].whole:
        raise CertificateError("not of version 3 with extensions")
    _, serial, _, issuer, validity, subject, key, extensions = fields
    serial.must(_INTEGER)
    not_before, not_after = _validity(validity)
    names = _names(subject)
    is_authority, identities = _extensions(extensions)
    organisations = [text for oid, text in names if oid == _ORGANISATION]
    if len(organisations) != 1:
        raise CertificateError("the subject names not exactly one organisation")
    codes = {text for oid, text in names if oid in (_SERIAL_NUMBER, _ORGANISATION_ID)}
    return Certificate(
        signed=signed.whole,
        signature=_signature(parts[2]),
        issuer=issuer.must(_SEQUENCE).whole,
        subject=subject.whole,
        organisation=organisations[0],
        codes=frozenset(codes | {_code_of(each) for each in identities}),
        public_key=_public_key(key.whole),
        not_before_ms=not_before,
        not_after_ms=not_after,
        is_authority=is_authority,
    )


def _public_key(info: bytes) -> bytes:
    point = info[len(_KEY_INFO) :]
    if info[: len(_KEY_INFO)] != _KEY_INFO or not sm2.is_public_key(point):
        raise CertificateError("not an SM2 key")
    return point


def _names(name: _Piece) -> list[tuple[bytes, str]]:
    found: list[tuple[bytes, str]] = []
    for relative in name.must(_SEQUENCE).parts():
        for attribute in relative.must(_SET).parts():
            pair = attribute.must(_SEQUENCE).parts()
            if len(pair) != 2:
                raise CertificateError("a name is not a pair")
            oid, value = pair[0].must(_OID).content, pair[1]
            found.append((oid, _text(value.content, _TEXTS.get(value.tag))))
    return found


def _text(content: bytes, encoding: str | None) -> str:
    if encoding is None:
        raise CertificateError("a text is neither UTF-8 nor printable")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise CertificateError("a text is not in its encoding") from error


def _validity(piece: _Piece) -> tuple[int, int]:
    times = [_time_ms(each) for each in piece.must(_SEQUENCE).parts()]
    if len(times) != 2 or times[0] > times[1]:
        raise CertificateError("its validity is no period")
    return times[0], times[1]


def _time_ms(piece: _Piece) -> int:
    form = _TIMES.get(piece.tag)
    found = form.fullmatch(piece.content) if form else None
    if found is None:
        raise CertificateError("a time is not of the form of X.509")
    year, month, day, hour, minute, second = map(int, found.groups())
    if len(found[1]) == 2:
        year += 2000 if year < 50 else 1900
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise CertificateError("a time does not exist") from error
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _extensions(piece: _Piece) -> tuple[bool, list[str]]:
    """Whether it is an authority's, and the URIs that it names its holder by."""
    seen: set[bytes] = set()
    is_authority, identities = False, list[str]()
    for extension in _single(piece.must(_EXTENSIONS).content, _SEQUENCE).parts():
        parts = extension.must(_SEQUENCE).parts()
        is_critical = len(parts) == 3 and parts[1].whole == _TRUE
        if len(parts) != 2 and not is_critical:
            raise CertificateError("an extension has another form")
        oid, value = parts[0].must(_OID).content, parts[-1].must(_OCTETS).content
        if oid in seen or (is_critical and oid not in _KNOWN):
            raise CertificateError("an extension stands twice, or is critical and unknown")
        seen.add(oid)
        if oid == _CONSTRAINTS:
            constraints = _single(value, _SEQUENCE).parts()
            is_authority = bool(constraints) and constraints[0].whole == _TRUE
        elif oid == _ALTERNATIVE_NAMES:
            names = _single(value, _SEQUENCE).parts()
            identities = [_text(each.content, "ascii") for each in names if each.tag == _URI]
    return is_authority, identities


def _code_of(identity: str) -> str:
    """The credit code in `did:rem:<region>:<code>` or `did:rem:<region>:<code>.<name>`."""
    parts = identity.split(":")
    is_did = len(parts) == 4 and parts[:2] == ["did", "rem"]
    return parts[3].partition(".")[0] if is_did else ""


def _signature(piece: _Piece) -> bytes:
    bits = piece.must(_BITS).content
    if bits[:1] != b"\0":
        raise CertificateError("the signature is no whole number of bytes")
    numbers = _single(bits[1:], _SEQUENCE).parts()
    if len(numbers) != 2:
        raise CertificateError("the signature is no pair")
    return b"".join(map(_scalar, numbers))


def _scalar(piece: _Piece) -> bytes:
    content = piece.must(_INTEGER).content
    value = int.from_bytes(content, "big")
    is_shortest = (
        bool(content) and content[0] < 0x80 and value.bit_length() // 8 + 1 == len(content)
    )
    if not is_shortest or value.bit_length() > 256:
        raise CertificateError("a number of the signature has another form")
    return value.to_bytes(32, "big")
