"""Key files: what is saved loads again, OpenSSL reads it, and nothing lax is accepted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from asn1crypto import pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import crypto

from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.keyfile import load_private_key, private_key_to_pem, save_private_key
from guqiao_sdk.gm.provider import GmProvider

pytestmark = pytest.mark.req("G2-09-6")


def test_a_saved_key_loads_again_and_signs(libcrypto: GmProvider, tmp_path: Path) -> None:
    private = libcrypto.keygen()
    save_private_key(tmp_path / "key.pem", private)
    loaded = load_private_key(tmp_path / "key.pem", libcrypto)
    assert loaded.public_key == private.public_key
    assert libcrypto.verify(private.public_key, b"m", libcrypto.sign(loaded, b"m"))


def test_a_scalar_with_leading_zeros_keeps_its_32_bytes(
    libcrypto: GmProvider, tmp_path: Path
) -> None:
    save_private_key(tmp_path / "key.pem", libcrypto.load_private_key(bytes(31) + b"\x05"))
    assert load_private_key(tmp_path / "key.pem", libcrypto).export_scalar() == bytes(31) + b"\x05"


def test_openssl_reads_our_key_files(libcrypto: GmProvider) -> None:
    crypto.load_privatekey(crypto.FILETYPE_PEM, private_key_to_pem(libcrypto.keygen()))


def test_a_new_key_file_is_its_owners_alone(libcrypto: GmProvider, tmp_path: Path) -> None:
    save_private_key(tmp_path / "key.pem", libcrypto.keygen())
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_key_that_others_can_reach_is_refused(
    libcrypto: GmProvider, tmp_path: Path, mode: int
) -> None:
    save_private_key(tmp_path / "key.pem", libcrypto.keygen())
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_private_key(tmp_path / "key.pem", libcrypto)


def test_a_key_file_is_never_overwritten(libcrypto: GmProvider, tmp_path: Path) -> None:
    first = libcrypto.keygen()
    save_private_key(tmp_path / "key.pem", first)
    with pytest.raises(KeyFileError, match="never overwritten"):
        save_private_key(tmp_path / "key.pem", libcrypto.keygen())
    assert load_private_key(tmp_path / "key.pem", libcrypto).public_key == first.public_key


def _p256_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key_with_another_public_key(provider: GmProvider) -> bytes:
    private, other = provider.keygen(), provider.keygen()
    _, _, der = pem.unarmor(private_key_to_pem(private))
    spoiled = der.replace(private.public_key, other.public_key)
    assert spoiled != der
    armoured: bytes = pem.armor("PRIVATE KEY", spoiled)
    return armoured


def _sm2_key_said_to_be_of_p256(provider: GmProvider) -> bytes:
    """Everything in it fits but the name of the curve."""
    _, _, der = pem.unarmor(private_key_to_pem(provider.keygen()))
    named = bytes.fromhex("06082a8648ce3d030107")  # 1.2.840.10045.3.1.7
    spoiled = der.replace(bytes.fromhex("06082a811ccf5501822d"), named)  # 1.2.156.10197.1.301
    assert spoiled != der
    armoured: bytes = pem.armor("PRIVATE KEY", spoiled)
    return armoured


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n!!!!\n",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
        b"\xff\xfe\x00",
        "P-256",
        "said to be P-256",
        "mismatched",
        "truncated",
    ],
)
def test_what_is_no_sm2_key_is_refused_by_name(
    libcrypto: GmProvider, tmp_path: Path, content: bytes | str
) -> None:
    match content:
        case "P-256":
            data = _p256_key()
        case "said to be P-256":
            data = _sm2_key_said_to_be_of_p256(libcrypto)
        case "mismatched":
            data = _key_with_another_public_key(libcrypto)
        case "truncated":
            _, _, der = pem.unarmor(private_key_to_pem(libcrypto.keygen()))
            data = pem.armor("PRIVATE KEY", der[:-3])
        case _:
            assert isinstance(content, bytes)
            data = content
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"key\.pem refused") as caught:
        load_private_key(path, libcrypto)
    assert caught.value.code == "KEY_FILE_REFUSED"


def test_a_missing_key_file_is_named(libcrypto: GmProvider, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"gone\.pem"):
        load_private_key(tmp_path / "gone.pem", libcrypto)
