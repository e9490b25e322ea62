"""SM2 public-key encryption by either backend: the standard's example, agreement, hostile bytes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from guqiao_sdk.gm import sm2, sm2_cipher
from guqiao_sdk.gm.errors import GmDecryptError, GmKeyError, GmParameterError, GmSelfTestError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.self_test import (
    SM2_CIPHER,
    SM2_PLAINTEXT,
    SM2_PUBLIC_KEY,
    SM2_SCALAR,
    run_self_test,
)
from guqiao_sdk.gm.sm2_cipher import PLAINTEXT_BYTES_MAX, Sm2Cipher, decode_cipher

pytestmark = pytest.mark.req("G2-09-5")

SEALED = SM2_CIPHER.encode()
OVER_A_FIXTURE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)
SLOWLY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
SIZES = (1, 2, 16, 31, 32, 33, 100, PLAINTEXT_BYTES_MAX)


def test_the_example_of_gbt_32918_opens(provider: GmProvider) -> None:
    private = provider.load_private_key(SM2_SCALAR)
    assert provider.sm2_decrypt(private, SEALED) == SM2_PLAINTEXT
    assert decode_cipher(SEALED) == SM2_CIPHER


def test_mask_and_check_are_those_of_the_example() -> None:
    shared = bytes.fromhex(
        "335e18d751e51f040e27d468138b7ab1dc86ad7f981d7d416222fd6ab3ed230d"
        "ab743ebcfb22d64f7b6ab791f70658f25b48fa93e54064fdbfbed3f0bd847ac9"
    )
    mask = "44e60fdbf0bae81437665374bef26749046c9e"
    assert sm2_cipher.mask(shared, len(SM2_PLAINTEXT)).hex() == mask
    assert sm2_cipher.masked(shared, SM2_PLAINTEXT) == SM2_CIPHER.masked
    assert sm2_cipher.check_of(shared, SM2_PLAINTEXT) == SM2_CIPHER.check


def test_each_backend_opens_what_the_other_seals(libcrypto: GmProvider, gmssl: GmProvider) -> None:
    private = libcrypto.keygen()
    for size in SIZES:
        plaintext = bytes(index % 251 for index in range(size))
        for sealer, opener in ((libcrypto, gmssl), (gmssl, libcrypto)):
            sealed = sealer.sm2_encrypt(private.public_key, plaintext)
            assert opener.sm2_decrypt(private, sealed) == plaintext
            assert plaintext == plaintext[:1] or plaintext not in sealed
            assert len(sealed) <= size + sm2_cipher.OVERHEAD_BYTES_MAX


def test_another_key_opens_nothing(provider: GmProvider) -> None:
    sealed = provider.sm2_encrypt(SM2_PUBLIC_KEY, b"key")
    with pytest.raises(GmDecryptError, match="does not open"):
        provider.sm2_decrypt(provider.keygen(), sealed)


def test_the_same_text_is_never_sealed_alike(provider: GmProvider) -> None:
    sealed = {provider.sm2_encrypt(SM2_PUBLIC_KEY, b"key") for _ in range(8)}
    assert len(sealed) == 8


def test_one_byte_is_hidden_though_a_mask_may_come_out_as_zero(libcrypto: GmProvider) -> None:
    """Such a mask comes once in 256 times for one byte, and would show it."""
    private = libcrypto.load_private_key(SM2_SCALAR)
    for _ in range(600):
        sealed = libcrypto.sm2_encrypt(SM2_PUBLIC_KEY, b"k")
        assert decode_cipher(sealed).masked != b"k"
        assert libcrypto.sm2_decrypt(private, sealed) == b"k"


def test_a_mask_of_zero_opens_nothing(provider: GmProvider, libcrypto: GmProvider) -> None:
    """Whoever sealed with it broke the standard: the text would be its own ciphertext."""
    private = provider.load_private_key(SM2_SCALAR)
    scalars = (number.to_bytes(32, "big") for number in range(1, 20_000))
    for found in map(libcrypto.load_private_key, scalars):
        shared = _shared(libcrypto, found.export_scalar())
        if not any(sm2_cipher.mask(shared, 1)):
            break
    check = sm2_cipher.check_of(shared, b"k")
    with pytest.raises(GmDecryptError):
        provider.sm2_decrypt(private, Sm2Cipher(found.public_key, check, b"k").encode())


def _shared(provider: GmProvider, scalar: bytes) -> bytes:
    """k times the public key of the example, whose own scalar is known: (k * d) times G."""
    product = int.from_bytes(scalar, "big") * int.from_bytes(SM2_SCALAR, "big") % sm2.N
    return provider.load_private_key(product.to_bytes(32, "big")).public_key[1:]


X, Y = SM2_CIPHER.point[1:33], SM2_CIPHER.point[33:]
PLUS_P = (int.from_bytes(X, "big") + sm2.P) % 2**256


def _with_point(x: bytes, y: bytes) -> bytes:
    return Sm2Cipher(b"\x04" + x + y, SM2_CIPHER.check, SM2_CIPHER.masked).encode()


SPOILED = {
    "empty": b"",
    "truncated": SEALED[:-1],
    "a byte behind it": SEALED + b"\0",
    "C1C3C2 without its form": SM2_CIPHER.point + SM2_CIPHER.check + SM2_CIPHER.masked,
    "indefinite length": b"\x30\x80" + SEALED[2:] + b"\0\0",
    "a longer length": b"\x30\x81" + SEALED[1:],
    "x not the shortest": SEALED[:2].replace(b"\x7c", b"\x7d") + b"\x02\x21\x00" + SEALED[4:],
    "off the curve": _with_point(X, bytes([Y[0] ^ 1]) + Y[1:]),
    "mirrored": _with_point(X, (sm2.P - int.from_bytes(Y, "big")).to_bytes(32, "big")),
    "zero": _with_point(bytes(32), bytes(32)),
    "x is p": _with_point(sm2.P.to_bytes(32, "big"), Y),
    "x not reduced": _with_point(PLUS_P.to_bytes(32, "big"), Y),
    "a short check": Sm2Cipher(SM2_CIPHER.point, b"\1" * 31, b"m").encode(),
    "no text": Sm2Cipher(SM2_CIPHER.point, SM2_CIPHER.check, b"").encode(),
    "the check of another": Sm2Cipher(SM2_CIPHER.point, bytes(32), SM2_CIPHER.masked).encode(),
    "too long": Sm2Cipher(SM2_CIPHER.point, SM2_CIPHER.check, bytes(5_000)).encode(),
    "old order C1C2C3": (
        SEALED[: -len(SM2_CIPHER.masked) - 36]
        + SEALED[-len(SM2_CIPHER.masked) - 2 :]
        + SEALED[-len(SM2_CIPHER.masked) - 36 : -len(SM2_CIPHER.masked) - 2]
    ),
}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_ciphertext_opens_nothing(provider: GmProvider, spoiled: bytes) -> None:
    private = provider.load_private_key(SM2_SCALAR)
    with pytest.raises(GmDecryptError):
        provider.sm2_decrypt(private, spoiled)


@OVER_A_FIXTURE
@given(position=st.integers(0, len(SEALED) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(libcrypto: GmProvider, position: int, flip: int) -> None:
    changed = bytearray(SEALED)
    changed[position] ^= flip
    with pytest.raises(GmDecryptError):
        libcrypto.sm2_decrypt(libcrypto.load_private_key(SM2_SCALAR), bytes(changed))


@SLOWLY
@given(position=st.integers(0, len(SEALED) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused_by_the_fallback(
    gmssl: GmProvider, position: int, flip: int
) -> None:
    changed = bytearray(SEALED)
    changed[position] ^= flip
    with pytest.raises(GmDecryptError):
        gmssl.sm2_decrypt(gmssl.load_private_key(SM2_SCALAR), bytes(changed))


@OVER_A_FIXTURE
@given(sealed=st.binary(max_size=300))
@example(sealed=b"\x30\x00")
def test_any_bytes_are_refused_alike(
    libcrypto: GmProvider, gmssl: GmProvider, sealed: bytes
) -> None:
    for provider in (libcrypto, gmssl):
        with pytest.raises(GmDecryptError):
            provider.sm2_decrypt(provider.load_private_key(SM2_SCALAR), sealed)


@pytest.mark.parametrize("key", [b"", bytes(65), SM2_PUBLIC_KEY[1:], b"\x04" + bytes(64)])
def test_nothing_is_sealed_under_what_is_no_key(provider: GmProvider, key: bytes) -> None:
    with pytest.raises(GmKeyError):
        provider.sm2_encrypt(key, b"key")


@pytest.mark.parametrize("size", [0, PLAINTEXT_BYTES_MAX + 1])
def test_only_short_texts_are_sealed(provider: GmProvider, size: int) -> None:
    with pytest.raises(GmParameterError, match="1 to 4096 bytes"):
        provider.sm2_encrypt(SM2_PUBLIC_KEY, bytes(size))


def test_a_backend_that_opens_wrongly_is_refused(
    libcrypto: GmProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(libcrypto), "sm2_decrypt", lambda *_: b"another text")
    with pytest.raises(GmSelfTestError, match="GB/T 32918 SM2 encryption"):
        run_self_test(libcrypto)
