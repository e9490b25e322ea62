"""What the wrapper makes of a library that fails or lacks something, and of what has no key."""

from __future__ import annotations

import ctypes.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.gm import asn1, sm2, sm2_cipher, sm3
from guqiao_sdk.gm.certificates import CertificateMalformedError, TrustAnchors
from guqiao_sdk.gm.certificates import chain as chain_module
from guqiao_sdk.gm.errors import GmBackendUnavailableError, GmKeyError, GmSignError
from guqiao_sdk.gm.libcrypto import LIBRARY_NAMES, LibcryptoProvider
from tests.unit.gm.certificate_world import DAY, REPLICA, START, World, trusted

MESSAGE = b"a message"


class Failing:
    """A library of which one function returns zero, so many times."""

    def __init__(self, library: Any, name: str, times: int = 1_000) -> None:
        self._library, self._name, self.left = library, name, times

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self.left:
            self.left -= 1
            return lambda *_: 0
        return getattr(self._library, name)


@pytest.fixture
def provider() -> LibcryptoProvider:
    """One of the test's own, whose library it may spoil."""
    return LibcryptoProvider()


@pytest.mark.req("G2-09-2")
@pytest.mark.parametrize("name", ["EVP_PKEY_sign_init", "EVP_PKEY_sign"])
def test_a_signature_that_the_library_does_not_make_is_an_error_and_the_next_is_made(
    provider: LibcryptoProvider, name: str
) -> None:
    key, sound = provider.keygen(), provider._lib
    provider._lib = Failing(sound, name)
    with pytest.raises(GmSignError) as failed:
        provider.sign(key, MESSAGE)
    assert "could not sign" in failed.value.en
    provider._lib = sound
    assert provider.verify(key.public_key, MESSAGE, provider.sign(key, MESSAGE))


@pytest.mark.req("G2-09-2")
@pytest.mark.parametrize("name", ["EVP_PKEY_encrypt_init", "EVP_PKEY_encrypt"])
def test_an_encryption_that_the_library_does_not_make_is_an_error(
    provider: LibcryptoProvider, name: str
) -> None:
    key, sound = provider.keygen(), provider._lib
    provider._lib = Failing(sound, name)
    with pytest.raises(GmKeyError) as failed:
        provider.sm2_encrypt(key.public_key, MESSAGE)
    assert "could not encrypt" in failed.value.en
    provider._lib = sound
    assert provider.sm2_decrypt(key, provider.sm2_encrypt(key.public_key, MESSAGE)) == MESSAGE


def test_a_ciphertext_that_shows_its_plaintext_is_made_again(
    provider: LibcryptoProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the mask of the key came out as zero, which the standard has drawn anew."""
    key, seen = provider.keygen(), list[bytes]()
    decode = sm2_cipher.decode_cipher

    def unmasked_once(sealed: bytes) -> Any:
        seen.append(sealed)
        cipher = decode(sealed)
        return replace(cipher, masked=MESSAGE) if len(seen) == 1 else cipher

    monkeypatch.setattr(sm2_cipher, "decode_cipher", unmasked_once)
    sealed = provider.sm2_encrypt(key.public_key, MESSAGE)
    assert seen[0] != seen[1] == sealed


@pytest.mark.parametrize("name", ["EC_POINT_mul", "EC_KEY_set_private_key"])
def test_a_key_that_the_library_does_not_take_is_an_error(
    provider: LibcryptoProvider, name: str
) -> None:
    scalar = provider.keygen().export_scalar()
    provider._lib = Failing(provider._lib, name)
    with pytest.raises(GmKeyError):
        provider.load_private_key(scalar)


def test_a_library_without_sm2_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LibcryptoProvider, "_has_sm2", staticmethod(lambda library: False))
    with pytest.raises(GmBackendUnavailableError) as absent:
        LibcryptoProvider()
    assert all(name in absent.value.en for name in LIBRARY_NAMES)


def test_the_name_that_the_system_knows_is_tried_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LibcryptoProvider, "_has_sm2", staticmethod(lambda library: False))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"found-{name}")
    with pytest.raises(GmBackendUnavailableError, match=r"found-crypto\)"):
        LibcryptoProvider()


def _no_anchor(world: World) -> None:
    TrustAnchors([])


def _large_list(world: World) -> None:
    TrustAnchors([trusted(world.authority, world.crl)])


def _no_point(world: World) -> None:
    world.authority.issue(
        REPLICA,
        bytes(sm2.PUBLIC_KEY_SIZE),
        organisation="示例股权交易中心",
        common_name=REPLICA,
        not_before=START,
        not_after=START + DAY,
    )


@pytest.mark.req("G2-09-6")
@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (_no_anchor, "there is no trust anchor"),
        (_large_list, "the CRL is too large"),
        (_no_point, "the public key is no SM2 point"),
    ],
)
def test_what_can_be_no_certificate_or_anchor_is_malformed(
    world: World, monkeypatch: pytest.MonkeyPatch, ask: Callable[[World], None], said: str
) -> None:
    monkeypatch.setattr(chain_module, "CRL_SIZE_MAX", len(world.crl) - 1)
    with pytest.raises(CertificateMalformedError, match=said):
        ask(world)


def test_a_list_of_just_the_largest_size_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_module, "CRL_SIZE_MAX", len(world.crl))
    assert len(TrustAnchors([trusted(world.authority, world.crl)]).crls) == 1


def test_a_certificate_without_the_field_of_a_key_has_none() -> None:
    assert asn1.public_key_of(b"\x30\x03\x02\x01\x01") is None


def test_a_python_without_sm3_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm3, "_BLANK", None)
    with pytest.raises(ValueError, match="built without SM3"):
        sm3._sm3_hashlib(MESSAGE)
