"""Certificates as the register of chains reads them: one encoding, the facts that OpenSSL finds."""

from __future__ import annotations

import base64

import pytest

from guqiao_sdk.gm.certificates import parse_certificate
from guqiao_sdk.proof.certificates import (
    parse_certificate_pem,
)
from guqiao_sdk.proof.der import CertificateError
from tests.unit.xchain.registered_chains import USCC, authority, certificate, nodes

PEM = certificate(nodes().name(0), USCC[0], "演示机构0")
HEAD, FOOT = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"


def der_of(pem: str) -> bytes:
    return base64.b64decode("".join(pem.splitlines()[1:-1]))


def pem_of(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return HEAD + "\n".join(lines) + "\n" + FOOT


def refused(der: bytes) -> str:
    with pytest.raises(CertificateError) as error:
        parse_certificate_pem(pem_of(der))
    return str(error.value)


@pytest.mark.req("G2-10-2d")
@pytest.mark.parametrize("pem", [PEM, authority().certificate_pem.decode()])
def test_the_facts_are_those_that_the_library_reads(pem: str) -> None:
    found, known = parse_certificate_pem(pem), parse_certificate(pem.encode())
    assert (found.public_key, found.organisation) == (known.public_key, known.organisation)
    assert found.is_authority is known.is_authority
    times = [int(each.timestamp() * 1000) for each in (known.not_before, known.not_after)]
    assert [found.not_before_ms, found.not_after_ms] == times
    assert (USCC[0] in found.codes) is not known.is_authority


def test_every_cut_and_every_byte_behind_the_end_is_refused() -> None:
    der = der_of(PEM)
    assert parse_certificate_pem(pem_of(der)) == parse_certificate_pem(PEM)
    for size in range(1, len(der)):
        refused(der[:size])
    assert refused(der + b"\0") == "bytes stand behind the end"


def test_a_length_has_one_spelling() -> None:
    """Three bytes where two are enough."""
    der = der_of(PEM)
    assert der[1] == 0x82
    longer = b"\x30\x83\x00" + der[2:]
    assert refused(longer) == "a length is not in its shortest form"
    assert refused(b"\x30\x80" + der[4:] + b"\0\0") == "a length is not in its shortest form"


def test_another_algorithm_is_refused() -> None:
    der = der_of(PEM)
    ecdsa = der.replace(bytes.fromhex("2a811ccf55018375"), bytes.fromhex("2a8648ce3d040302"))
    assert refused(ecdsa) == "not signed with SM2 and SM3"
    once = der.replace(bytes.fromhex("2a811ccf55018375"), bytes.fromhex("2a8648ce3d040302"), 1)
    assert refused(once) == "not of version 3 with extensions"
    other_curve = der.replace(bytes.fromhex("2a811ccf5501822d"), bytes.fromhex("2a811ccf5501822e"))
    assert refused(other_curve) == "not an SM2 key"


def test_a_key_off_the_curve_is_refused() -> None:
    der, key = der_of(PEM), parse_certificate_pem(PEM).public_key
    assert refused(der.replace(key, key[:-1] + bytes([key[-1] ^ 1]))) == "not an SM2 key"


def test_a_critical_extension_that_nobody_knows_is_refused() -> None:
    der = der_of(PEM)
    unknown = der.replace(bytes.fromhex("0603551d0f0101ff"), bytes.fromhex("0603551d7f0101ff"))
    assert unknown != der
    assert refused(unknown) == "an extension stands twice, or is critical and unknown"


@pytest.mark.parametrize(
    "pem",
    ["", "x", PEM + PEM, " " + PEM, PEM.replace("\n", "\r\n"), HEAD + FOOT, HEAD + "=\n" + FOOT],
)
def test_what_is_not_one_certificate_in_pem_is_refused(pem: str) -> None:
    with pytest.raises(CertificateError):
        parse_certificate_pem(pem)
