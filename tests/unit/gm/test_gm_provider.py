"""Signatures by either backend: standard vectors, agreement, and every malformed input refused."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guqiao_sdk.gm import gmssl_backend, sm2
from guqiao_sdk.gm import libcrypto as libcrypto_module
from guqiao_sdk.gm import provider as provider_module
from guqiao_sdk.gm.algorithms import INVENTORY, GmAlgorithm, require_gm
from guqiao_sdk.gm.errors import (
    AlgorithmNotGmError,
    GmBackendUnavailableError,
    GmDecryptError,
    GmKeyError,
    GmParameterError,
    GmSelfTestError,
)
from guqiao_sdk.gm.libcrypto import LibcryptoProvider
from guqiao_sdk.gm.provider import GmProvider, SlowGmBackendWarning, open_provider
from guqiao_sdk.gm.self_test import (
    GCM_AAD,
    GCM_NONCE,
    GCM_PLAINTEXT,
    GCM_SEALED,
    SM2_MESSAGE,
    SM2_PUBLIC_KEY,
    SM2_SCALAR,
    SM2_SIGNATURE,
    SM2_ZA,
    SM4_KEY,
    run_self_test,
)

OVER_A_FIXTURE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


@pytest.mark.req("G2-09-2")
def test_the_example_of_gbt_32918_verifies(provider: GmProvider) -> None:
    assert sm2.za(SM2_PUBLIC_KEY) == SM2_ZA
    assert provider.load_private_key(SM2_SCALAR).public_key == SM2_PUBLIC_KEY
    assert provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, SM2_SIGNATURE)
    assert not provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE + b"!", SM2_SIGNATURE)


@pytest.mark.req("G2-09-2")
def test_each_backend_accepts_what_the_other_signs(
    libcrypto: GmProvider, gmssl: GmProvider
) -> None:
    for number in range(12):
        message = bytes([number]) * (number * 37)
        for signer, judge in ((libcrypto, gmssl), (gmssl, libcrypto)):
            private = signer.keygen()
            signature = signer.sign(private, message)
            assert judge.verify(private.public_key, message, signature)
            assert not judge.verify(private.public_key, message + b"\0", signature)


def test_a_key_made_by_one_backend_signs_in_the_other(
    libcrypto: GmProvider, gmssl: GmProvider
) -> None:
    private = gmssl.keygen()
    assert gmssl.verify(private.public_key, b"m", libcrypto.sign(private, b"m"))
    private = libcrypto.keygen()
    assert libcrypto.verify(private.public_key, b"m", gmssl.sign(private, b"m"))


@pytest.mark.parametrize("first_digits", ["0", "4", "04", "40", "00"])
def test_a_public_key_that_begins_with_0_or_4_is_read_whole(
    first_digits: str, libcrypto: GmProvider, gmssl: GmProvider
) -> None:
    """The pure-Python package strips such digits itself; the guard must not let it."""
    scalars = (number.to_bytes(32, "big") for number in range(1, 5000))
    keys = (libcrypto.load_private_key(scalar) for scalar in scalars)
    private = next(key for key in keys if key.public_key[1:].hex().startswith(first_digits))
    assert gmssl.load_private_key(private.export_scalar()).public_key == private.public_key
    assert gmssl.verify(private.public_key, b"m", libcrypto.sign(private, b"m"))
    assert libcrypto.verify(private.public_key, b"m", gmssl.sign(private, b"m"))


def test_equal_halves_of_a_verification_are_doubled_rightly(gmssl: GmProvider) -> None:
    """s*G == t*P, with s = t*d: the sum is a doubling, which the package alone gets wrong."""
    d, t = int.from_bytes(SM2_SCALAR, "big"), 0x1234567890ABCDEF
    s = t * d % sm2.N
    r = (t - s) % sm2.N
    doubled = gmssl.load_private_key((2 * s % sm2.N).to_bytes(32, "big")).public_key
    x = int.from_bytes(doubled[1:33], "big")
    digest = (r - x) % sm2.N
    assert gmssl_backend.verify_digest(SM2_PUBLIC_KEY, digest, r, s)
    assert not gmssl_backend.verify_digest(SM2_PUBLIC_KEY, digest + 1, r, s)


def test_halves_that_cancel_out_are_refused(gmssl: GmProvider) -> None:
    """s*G == -t*P: the sum is the point at infinity, which has no x."""
    d, t = int.from_bytes(SM2_SCALAR, "big"), 0x1234567890ABCDEF
    s = -t * d % sm2.N
    r = (t - s) % sm2.N
    assert not gmssl_backend.verify_digest(SM2_PUBLIC_KEY, r, r, s)


def _pair(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


R, S = int.from_bytes(SM2_SIGNATURE[:32], "big"), int.from_bytes(SM2_SIGNATURE[32:], "big")
SPOILED_SIGNATURES = {
    "r is 0": _pair(0, S),
    "s is 0": _pair(R, 0),
    "r is n": _pair(sm2.N, S),
    "s is n": _pair(R, sm2.N),
    "r is n+1": _pair(sm2.N + 1, S),
    "s is n+1": _pair(R, sm2.N + 1),
    "r is all ones": _pair(2**256 - 1, S),
    "s is negated": _pair(R, sm2.N - S),
    "r is negated": _pair(sm2.N - R, S),
    "r + s is n": _pair(R, sm2.N - R),
    "r and s are swapped": _pair(S, R),
    "a bit of r is flipped": _pair(R ^ 1, S),
    "a bit of s is flipped": _pair(R, S ^ 1),
    "truncated": SM2_SIGNATURE[:-1],
    "one byte too long": SM2_SIGNATURE + b"\0",
    "empty": b"",
    "DER": sm2.signature_to_der(SM2_SIGNATURE),
}


@pytest.mark.req("G2-09-2")
@pytest.mark.parametrize("spoiled", SPOILED_SIGNATURES.values(), ids=SPOILED_SIGNATURES.keys())
def test_a_spoiled_signature_is_refused(provider: GmProvider, spoiled: bytes) -> None:
    assert provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, SM2_SIGNATURE)
    assert not provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, spoiled)


def _point(x: int, y: int) -> bytes:
    return b"\x04" + _pair(x, y)


X, Y = int.from_bytes(SM2_PUBLIC_KEY[1:33], "big"), int.from_bytes(SM2_PUBLIC_KEY[33:], "big")
SPOILED_KEYS = {
    "zero": _point(0, 0),
    "off the curve": _point(X, Y ^ 1),
    "the mirrored point": _point(X, sm2.P - Y),
    "x is p": _point(sm2.P, Y),
    "y is not reduced": _point(X, (Y + sm2.P) % 2**256),
    "the generator": _point(sm2.G_X, sm2.G_Y),
    "compressed": bytes([2 + Y % 2]) + SM2_PUBLIC_KEY[1:33],
    "hybrid": bytes([6 + Y % 2]) + SM2_PUBLIC_KEY[1:],
    "without its prefix": SM2_PUBLIC_KEY[1:],
    "truncated": SM2_PUBLIC_KEY[:-1],
    "infinity": b"\0",
    "empty": b"",
}


@pytest.mark.req("G2-09-2")
@pytest.mark.parametrize("spoiled", SPOILED_KEYS.values(), ids=SPOILED_KEYS.keys())
def test_a_spoiled_public_key_verifies_nothing(provider: GmProvider, spoiled: bytes) -> None:
    assert not provider.verify(spoiled, SM2_MESSAGE, SM2_SIGNATURE)


def test_a_signature_under_another_user_id_is_refused(
    provider: GmProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = provider.keygen()
    other = provider_of_the_same_kind(provider)
    real_za = sm2.za
    with monkeypatch.context() as patched:
        patched.setattr(sm2, "za", lambda key, user_id=b"ALICE123@YAHOO.COM": real_za(key, user_id))
        signature = other.sign(private, b"message")
        assert other.verify(private.public_key, b"message", signature)
    assert not provider.verify(private.public_key, b"message", signature)


def provider_of_the_same_kind(provider: GmProvider) -> GmProvider:
    """A fresh one, whose cache of Z_A holds nothing yet."""
    return LibcryptoProvider() if provider.name == "libcrypto" else gmssl_backend.GmsslProvider()


@pytest.mark.req("G2-09-2")
@OVER_A_FIXTURE
@given(
    public_key=st.one_of(st.just(SM2_PUBLIC_KEY), st.binary(max_size=70)),
    message=st.binary(max_size=64),
    signature=st.one_of(st.binary(max_size=80), st.binary(min_size=64, max_size=64)),
)
def test_any_bytes_get_a_false_and_never_an_exception(
    libcrypto: GmProvider, public_key: bytes, message: bytes, signature: bytes
) -> None:
    assert libcrypto.verify(public_key, message, signature) is False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    public_key=st.one_of(st.just(SM2_PUBLIC_KEY), st.binary(max_size=70)),
    message=st.binary(max_size=64),
    signature=st.one_of(st.binary(max_size=80), st.binary(min_size=64, max_size=64)),
)
def test_any_bytes_get_a_false_from_the_fallback_too(
    gmssl: GmProvider, public_key: bytes, message: bytes, signature: bytes
) -> None:
    assert gmssl.verify(public_key, message, signature) is False


@OVER_A_FIXTURE
@given(message=st.binary(max_size=500), position=st.integers(0, 63), flip=st.integers(1, 255))
def test_a_signature_holds_and_any_changed_byte_breaks_it(
    libcrypto: GmProvider, message: bytes, position: int, flip: int
) -> None:
    private = libcrypto.load_private_key(SM2_SCALAR)
    signature = libcrypto.sign(private, message)
    assert len(signature) == 64
    assert libcrypto.verify(private.public_key, message, signature)
    changed = bytearray(signature)
    changed[position] ^= flip
    assert not libcrypto.verify(private.public_key, message, bytes(changed))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 17])
def test_many_are_judged_in_their_order(provider: GmProvider, count: int) -> None:
    private = provider.keygen()
    items = []
    for number in range(count):
        message = bytes([number])
        signed = message if number % 3 else b"something else"
        items.append((private.public_key, message, provider.sign(private, signed)))
    assert provider.verify_many(items) == [bool(number % 3) for number in range(count)]


def test_more_keys_than_the_cache_holds_still_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcrypto_module, "PARSED_KEYS_MAX", 2)
    small = LibcryptoProvider()
    privates = [small.keygen() for _ in range(5)]
    for _ in range(2):
        for private in privates:
            assert small.verify(private.public_key, b"m", small.sign(private, b"m"))
    assert small._public.cache_info().currsize == 2


@pytest.mark.parametrize(
    "scalar",
    [bytes(32), (sm2.N - 1).to_bytes(32, "big"), sm2.N.to_bytes(32, "big"), b"\xff" * 32, b"\1"],
)
def test_a_scalar_out_of_range_is_no_private_key(provider: GmProvider, scalar: bytes) -> None:
    with pytest.raises(GmKeyError, match="between 1 and n-2"):
        provider.load_private_key(scalar)


@pytest.mark.parametrize("d", [1, 2, sm2.N - 2])
def test_the_extreme_private_keys_sign(provider: GmProvider, d: int) -> None:
    private = provider.load_private_key(d.to_bytes(32, "big"))
    assert provider.verify(private.public_key, b"m", provider.sign(private, b"m"))


@pytest.mark.req("G2-09-6")
def test_a_private_key_shows_its_scalar_to_nobody(provider: GmProvider) -> None:
    private = provider.load_private_key(SM2_SCALAR)
    for text in (repr(private), str(private), f"{private}"):
        assert SM2_SCALAR.hex() not in text
        assert str(int.from_bytes(SM2_SCALAR, "big")) not in text
        assert repr(SM2_SCALAR) not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(private)


@pytest.mark.req("G2-09-5")
def test_sm4_gcm_gives_the_example_of_rfc_8998(provider: GmProvider) -> None:
    assert provider.sm4_gcm_encrypt(SM4_KEY, GCM_NONCE, GCM_PLAINTEXT, GCM_AAD) == GCM_SEALED
    assert provider.sm4_gcm_decrypt(SM4_KEY, GCM_NONCE, GCM_SEALED, GCM_AAD) == GCM_PLAINTEXT


@pytest.mark.req("G2-09-5")
@pytest.mark.parametrize(
    ("key", "nonce", "sealed", "aad"),
    [
        (bytes(16), GCM_NONCE, GCM_SEALED, GCM_AAD),
        (SM4_KEY, bytes(12), GCM_SEALED, GCM_AAD),
        (SM4_KEY, GCM_NONCE, GCM_SEALED, b""),
        (SM4_KEY, GCM_NONCE, GCM_SEALED[:-1], GCM_AAD),
        (SM4_KEY, GCM_NONCE, b"\0" + GCM_SEALED[1:], GCM_AAD),
        (SM4_KEY, GCM_NONCE, b"short", GCM_AAD),
        (SM4_KEY, GCM_NONCE, b"", GCM_AAD),
    ],
)
def test_what_was_changed_does_not_decrypt(
    provider: GmProvider, key: bytes, nonce: bytes, sealed: bytes, aad: bytes
) -> None:
    with pytest.raises(GmDecryptError, match="does not authenticate"):
        provider.sm4_gcm_decrypt(key, nonce, sealed, aad)


@pytest.mark.parametrize(("key", "nonce"), [(bytes(15), bytes(12)), (bytes(16), bytes(16))])
def test_a_key_or_nonce_of_another_size_is_refused(
    provider: GmProvider, key: bytes, nonce: bytes
) -> None:
    with pytest.raises(GmParameterError, match="16-byte key and a 12-byte nonce"):
        provider.sm4_gcm_encrypt(key, nonce, b"", b"")
    with pytest.raises(GmParameterError, match="16-byte key and a 12-byte nonce"):
        provider.sm4_gcm_decrypt(key, nonce, bytes(16), b"")


class _Broken(gmssl_backend.GmsslProvider):
    """A backend with one fault, chosen by the test."""

    def __init__(self, fault: str, answer: Any) -> None:
        setattr(self, fault, lambda *_: answer)


@pytest.mark.req("G2-09-2", "G2-09-5")
@pytest.mark.parametrize(
    ("fault", "answer", "vector"),
    [
        ("verify", True, "GB/T 32918 SM2 signature"),
        ("verify", False, "GB/T 32918 SM2 signature"),
        ("sign", SM2_SIGNATURE, "SM2 sign and verify"),
        ("sm4_gcm_encrypt", b"", "RFC 8998 SM4-GCM"),
        ("sm4_gcm_decrypt", b"", "RFC 8998 SM4-GCM"),
    ],
)
def test_a_backend_that_fails_a_vector_refuses(fault: str, answer: object, vector: str) -> None:
    with pytest.raises(GmSelfTestError, match=vector) as caught:
        run_self_test(_Broken(fault, answer))
    assert "拒绝启动" in caught.value.zh


@pytest.mark.req("G2-09-1")
def test_a_wrong_sm3_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guqiao_sdk.gm.self_test.sm3", lambda data: bytes(32))
    with pytest.raises(GmSelfTestError, match="SM3"):
        open_provider()


def test_without_a_libcrypto_the_fallback_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> LibcryptoProvider:
        return LibcryptoProvider(["libcrypto-that-is-not-there.so"])

    monkeypatch.setattr(provider_module, "LibcryptoProvider", missing)
    with pytest.raises(GmBackendUnavailableError, match="libcrypto-that-is-not-there"):
        open_provider("libcrypto")
    with pytest.warns(SlowGmBackendWarning, match="pure Python"):
        assert open_provider("auto").name == "gmssl"


def test_auto_chooses_libcrypto_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_provider().name == "libcrypto"


def test_a_library_that_is_no_libcrypto_is_passed_over() -> None:
    with pytest.raises(GmBackendUnavailableError, match="SM2"):
        LibcryptoProvider(["libc.so.6"])


@pytest.mark.req("G2-09-5")
def test_only_algorithms_of_the_allow_list_are_taken() -> None:
    assert require_gm("SM2-SM3") is GmAlgorithm.SM2_WITH_SM3
    assert set(INVENTORY) == set(GmAlgorithm)
    for name in ("ECDSA-SHA256", "Ed25519", "AES-GCM", "SHA-256", "sm3", ""):
        with pytest.raises(AlgorithmNotGmError) as caught:
            require_gm(name)
        assert caught.value.code == "ALG_NOT_GM"
