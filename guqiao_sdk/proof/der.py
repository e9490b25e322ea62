"""ASN.1 in the one encoding that DER allows, as certificates and revocation lists are read here.

Replicas must agree on every byte, so no library whose next version may read otherwise is asked.
What X.509 allows and nobody here has a use for is refused: other algorithms, multi-byte tags,
indefinite lengths.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

SEQUENCE, SET, INTEGER, BITS, OCTETS, OID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06
TRUE: Final = bytes.fromhex("0101ff")
SM2_WITH_SM3: Final = tuple(
    bytes.fromhex(each) for each in ("300a06082a811ccf55018375", "300c06082a811ccf550183750500")
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS: Final = {0x0C: "utf-8", 0x13: "ascii"}
_TIMES: Final = {
    0x17: re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z"),
    0x18: re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z"),
}


class CertificateError(ValueError):
    """These are not the bytes of a certificate, or of a revocation list, of this form."""


def read_pem(pem: str, label: str, length_max: int) -> bytes:
    """The bytes in an armour of this label and at most so many characters."""
    form = rf"-----BEGIN {label}-----\n((?:[A-Za-z0-9+/=]{{1,76}}\n)+)-----END {label}-----\n?"
    found = re.fullmatch(form, pem) if len(pem) <= length_max else None
    if found is None:
        raise CertificateError(f"not one PEM {label.lower()}")
    try:
        return base64.b64decode(found[1].replace("\n", ""), validate=True)
    except binascii.Error as error:
        raise CertificateError("not base64") from error


@dataclass(frozen=True, slots=True)
class Piece:
    """One value: its tag, its content, and both with the length between them."""

    tag: int
    content: bytes
    whole: bytes

    def must(self, tag: int) -> Piece:
        """Itself, if it has this tag; raises `CertificateError`."""
        if self.tag != tag:
            raise CertificateError(f"a piece {self.tag:#x} instead of {tag:#x}")
        return self

    def parts(self) -> list[Piece]:
        """The pieces within."""
        found: list[Piece] = []
        at = 0
        while at < len(self.content):
            piece = piece_of(self.content, at)
            found.append(piece)
            at += len(piece.whole)
        return found


def piece_of(data: bytes, at: int = 0) -> Piece:
    """The piece of `data` that begins at `at`, in its only encoding."""
    if len(data) < at + 2 or data[at] & 0x1F == 0x1F:
        raise CertificateError("a piece is cut off or has a long tag")
    size, start = data[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[at + 2 : start], "big")
        is_shortest = 2 < start - at <= 5 and size >= 0x80 and data[at + 2] != 0
        if not is_shortest:
            raise CertificateError("a length is not in its shortest form")
    end = start + size
    if end > len(data):
        raise CertificateError("a piece is cut off")
    return Piece(data[at], data[start:end], data[at:end])


def single(data: bytes, tag: int) -> Piece:
    """The only value in `data`, of this tag."""
    piece = piece_of(data).must(tag)
    if len(piece.whole) != len(data):
        raise CertificateError("bytes stand behind the end")
    return piece


def time_ms(piece: Piece) -> int:
    """A UTCTime or GeneralizedTime in milliseconds since 1970."""
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


def text_of(content: bytes, encoding: str | None) -> str:
    """A text in this encoding."""
    if encoding is None:
        raise CertificateError("a text is neither UTF-8 nor printable")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise CertificateError("a text is not in its encoding") from error


def integer_of(piece: Piece, octets_max: int) -> int:
    """An INTEGER in its shortest form, of at most so many octets."""
    content = piece.must(INTEGER).content
    value = int.from_bytes(content, "big", signed=True)
    bits = (value if value >= 0 else ~value).bit_length()
    if len(content) != bits // 8 + 1 or len(content) > octets_max:
        raise CertificateError(f"a number is not of 1 to {octets_max} octets in its shortest form")
    return value


def signature_of(piece: Piece) -> bytes:
    """The 64 bytes r and s of an SM2 signature in a bit string."""
    bits = piece.must(BITS).content
    if bits[:1] != b"\0":
        raise CertificateError("the signature is no whole number of bytes")
    numbers = single(bits[1:], SEQUENCE).parts()
    if len(numbers) != 2:
        raise CertificateError("the signature is no pair")
    return b"".join(map(_scalar, numbers))


def _scalar(piece: Piece) -> bytes:
    content = piece.must(INTEGER).content
    value = int.from_bytes(content, "big")
    is_shortest = (
        bool(content) and content[0] < 0x80 and value.bit_length() // 8 + 1 == len(content)
    )
    if not is_shortest or value.bit_length() > 256:
        raise CertificateError("a number of the signature has another form")
    return value.to_bytes(32, "big")
