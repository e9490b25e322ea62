"""DER as certificates have it: one form for each value, and every other one is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from guqiao_sdk.proof.der import (
    BITS,
    INTEGER,
    SEQUENCE,
    CertificateError,
    integer_of,
    piece_of,
    signature_of,
    text_of,
    time_ms,
)

UTC_TIME, GENERALIZED_TIME = 0x17, 0x18


def der(tag: int, content: bytes) -> bytes:
    """A short piece."""
    return bytes([tag, len(content)]) + content


@pytest.mark.parametrize(
    ("tag", "text", "year"),
    [
        (UTC_TIME, b"490102030405Z", 2049),
        (UTC_TIME, b"500102030405Z", 1950),
        (GENERALIZED_TIME, b"20500102030405Z", 2050),
    ],
)
def test_a_year_of_two_digits_is_of_1950_to_2049(tag: int, text: bytes, year: int) -> None:
    moment = datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert time_ms(piece_of(der(tag, text))) == int(moment.timestamp() * 1_000)


@pytest.mark.parametrize(
    ("tag", "text", "said"),
    [
        (UTC_TIME, b"4901020304Z", "not of the form"),
        (UTC_TIME, b"490102030405+0800", "not of the form"),
        (INTEGER, b"490102030405Z", "not of the form"),
        (GENERALIZED_TIME, b"490102030405Z", "not of the form"),
        (UTC_TIME, b"490230030405Z", "does not exist"),
        (GENERALIZED_TIME, b"20500102250405Z", "does not exist"),
    ],
)
def test_a_time_of_another_form_or_that_no_calendar_has_is_refused(
    tag: int, text: bytes, said: str
) -> None:
    with pytest.raises(CertificateError, match=said):
        time_ms(piece_of(der(tag, text)))


def test_a_text_is_read_in_its_encoding_or_not_at_all() -> None:
    assert text_of("股权".encode(), "utf-8") == "股权"
    with pytest.raises(CertificateError, match="neither UTF-8 nor printable"):
        text_of(b"text", None)
    with pytest.raises(CertificateError, match="not in its encoding"):
        text_of("股权".encode(), "ascii")


@pytest.mark.parametrize(("content", "value"), [(b"\0", 0), (b"\x7f", 127), (b"\xff", -1)])
def test_a_number_in_its_shortest_form_is_read(content: bytes, value: int) -> None:
    assert integer_of(piece_of(der(INTEGER, content)), 2) == value


@pytest.mark.parametrize("content", [b"", b"\0\x7f", b"\xff\xff", b"\x01\0\0"])
def test_a_number_that_is_longer_than_it_must_be_or_may_be_is_refused(content: bytes) -> None:
    with pytest.raises(CertificateError, match="shortest form"):
        integer_of(piece_of(der(INTEGER, content)), 2)


def signature(*numbers: bytes, unused: bytes = b"\0") -> bytes:
    pair = der(SEQUENCE, b"".join(der(INTEGER, number) for number in numbers))
    return der(BITS, unused + pair)


def test_a_signature_is_two_numbers_of_32_bytes() -> None:
    read = signature_of(piece_of(signature(b"\x01", b"\0\xff" + bytes(31))))
    assert read == bytes(31) + b"\x01" + b"\xff" + bytes(31)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (signature(b"\x01", b"\x02", unused=b"\x01"), "no whole number of bytes"),
        (signature(b"\x01"), "no pair"),
        (signature(b"\x01", b"\x02", b"\x03"), "no pair"),
        (signature(b"\x01", b""), "another form"),
        (signature(b"\x01", b"\xff"), "another form"),
        (signature(b"\x01", b"\0\x01"), "another form"),
        (signature(b"\x01", b"\x01" + bytes(32)), "another form"),
    ],
)
def test_a_signature_of_another_form_is_refused(spoilt: bytes, said: str) -> None:
    with pytest.raises(CertificateError, match=said):
        signature_of(piece_of(spoilt))
