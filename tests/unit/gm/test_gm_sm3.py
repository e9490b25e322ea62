"""SM3 and HMAC-SM3 against GB/T 32905's examples, RFC 2104's definition, and each other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.gm import sm3 as module
from guqiao_sdk.gm.self_test import SM3_VECTORS
from guqiao_sdk.gm.sm3 import hmac_sm3, sm3


@pytest.mark.req("G2-09-1")
@pytest.mark.parametrize(("message", "digest"), SM3_VECTORS)
def test_sm3_gives_the_digests_of_the_standard(message: bytes, digest: str) -> None:
    assert sm3(message).hex() == digest


@pytest.mark.req("G2-09-1")
@given(st.binary(max_size=300))
def test_both_implementations_of_sm3_agree(data: bytes) -> None:
    assert module._sm3_hashlib(data) == module._sm3_cryptography(data) == sm3(data)


@given(key=st.binary(max_size=100), data=st.binary(max_size=200))
def test_hmac_sm3_is_the_construction_of_rfc_2104(key: bytes, data: bytes) -> None:
    block = (sm3(key) if len(key) > 64 else key).ljust(64, b"\0")
    inner = sm3(bytes(byte ^ 0x36 for byte in block) + data)
    expected = sm3(bytes(byte ^ 0x5C for byte in block) + inner)
    assert hmac_sm3(key, data) == expected
    assert module._hmac_sm3_cryptography(key, data) == expected


def test_a_python_without_sm3_uses_the_other_implementation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_sm3(*_: object) -> bytes:
        raise ValueError("unsupported hash type sm3")

    monkeypatch.setattr(module, "_sm3_hashlib", without_sm3)
    assert module._choose() == (module._sm3_cryptography, module._hmac_sm3_cryptography)


def test_hashing_pulls_in_no_backend() -> None:
    """Pure code imports sm3 alone; the signature backends must not come along."""
    code = (
        "import sys, guqiao_sdk.gm.sm3; "
        "print([m for m in sys.modules if m.startswith('guqiao_sdk.gm.') or m == 'gmssl'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['guqiao_sdk.gm.sm3']"
