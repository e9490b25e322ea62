"""The one door to signatures and sealing: choose a backend, test it, use it.

`open_provider()` runs the standard vectors before it returns anything, and falls back from the
system's libcrypto to pure Python only with a loud warning. Hash with `guqiao_sdk.gm.sm3` directly.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, Protocol

from guqiao_sdk.gm.errors import GmBackendUnavailableError
from guqiao_sdk.gm.gmssl_backend import GmsslProvider
from guqiao_sdk.gm.libcrypto import LibcryptoProvider
from guqiao_sdk.gm.self_test import run_self_test
from guqiao_sdk.gm.sm2 import PrivateKey

Backend = Literal["auto", "libcrypto", "gmssl"]

__all__ = ["Backend", "GmProvider", "PrivateKey", "SlowGmBackendWarning", "open_provider"]


class SlowGmBackendWarning(RuntimeWarning):
    """The pure-Python backend is in use: fit for trials, forty times too slow for a chain."""


class GmProvider(Protocol):
    """SM2 signatures and encryption, and SM4-GCM. Implementations may be called from several
    threads at once.
    """

    @property
    def name(self) -> str:
        """The backend's name, for logs and the key inventory."""

    def keygen(self) -> PrivateKey:
        """Make a new key from the system's CSPRNG."""

    def load_private_key(self, scalar: bytes) -> PrivateKey:
        """Take a key from its 32-byte scalar, or raise `GmKeyError`."""

    def sign(self, private: PrivateKey, message: bytes) -> bytes:
        """Return r||s, 64 bytes, over SM3(Z_A || message) with the id 1234567812345678."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is valid. Any bytes give an answer, never an exception."""

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        """Judge (public key, message, signature) items; answers keep their order."""

    def sm2_encrypt(self, public_key: bytes, plaintext: bytes) -> bytes:
        """Seal 1 to 4,096 bytes for the owner of a key: SM2Cipher in DER (GB/T 35276). Raises
        `GmKeyError` for what is no key of the curve, `GmParameterError` for another size.
        """

    def sm2_decrypt(self, private: PrivateKey, sealed: bytes) -> bytes:
        """Return the plaintext, or raise `GmDecryptError`, which any bytes may be given for."""

    def sm4_gcm_encrypt(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Return ciphertext and tag under a 16-byte key and a 12-byte nonce used only once."""

    def sm4_gcm_decrypt(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """Return the plaintext, or raise `GmDecryptError`."""


def open_provider(backend: Backend = "auto") -> GmProvider:
    """Return a tested provider, or raise `GmBackendUnavailableError` or `GmSelfTestError`.

    A process opens one and passes it on: opening costs some milliseconds and holds a thread pool.
    """
    provider = _choose(backend)
    run_self_test(provider)
    return provider


def _choose(backend: Backend) -> GmProvider:
    if backend == "gmssl":
        return _slow("it was asked for")
    try:
        return LibcryptoProvider()
    except GmBackendUnavailableError as error:
        if backend == "libcrypto":
            raise
        return _slow(str(error))


def _slow(reason: str) -> GmProvider:
    warnings.warn(
        f"SM2 runs in pure Python (gmssl), about 40 times slower than libcrypto and not "
        f"constant-time, because {reason} / SM2 使用纯 Python 后端,仅供试用",
        SlowGmBackendWarning,
        stacklevel=4,
    )
    return GmsslProvider()
