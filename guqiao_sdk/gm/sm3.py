"""SM3 (GB/T 32905) and HMAC-SM3, as plain functions.

Proofs and the consensus domain import this module and nothing else of the package, so it imports
only `hashlib`, `hmac` and `cryptography`. Which implementation answers is chosen once, at import:
Python's own OpenSSL where it knows SM3, else the one inside `cryptography`; both give equal bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import hmac as cryptography_hmac

DIGEST_SIZE = 32

# A copy of a blank context costs a third less than looking SM3 up by name for each digest.
_BLANK = hashlib.new("sm3") if "sm3" in hashlib.algorithms_available else None


def _sm3_hashlib(data: bytes) -> bytes:
    if _BLANK is None:
        raise ValueError("this Python's OpenSSL was built without SM3")
    context = _BLANK.copy()
    context.update(data)
    return context.digest()


def _sm3_cryptography(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize()


def _hmac_sm3_hashlib(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sm3")


def _hmac_sm3_cryptography(key: bytes, data: bytes) -> bytes:
    mac = cryptography_hmac.HMAC(key, hashes.SM3())
    mac.update(data)
    return mac.finalize()


def _choose() -> tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], bytes]]:
    try:
        _hmac_sm3_hashlib(b"key", b"")
        _sm3_hashlib(b"")
    except ValueError:  # This Python's OpenSSL was built without SM3.
        return _sm3_cryptography, _hmac_sm3_cryptography
    return _sm3_hashlib, _hmac_sm3_hashlib


_sm3, _hmac_sm3 = _choose()


def sm3(data: bytes) -> bytes:
    """Return the 32-byte SM3 digest of `data`."""
    return _sm3(data)


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """Return the 32-byte HMAC-SM3 of `data` under `key`."""
    return _hmac_sm3(key, data)
