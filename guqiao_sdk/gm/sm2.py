"""SM2 (GB/T 32918) facts that need no backend: curve, Z_A, encodings, the private key object.

Signatures are the fixed 64 bytes r||s everywhere but inside X.509, where they are DER; public keys
are the 65-byte uncompressed point. Both backends take the digest and the range checks from here, so
that they accept exactly the same signatures.
"""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from guqiao_sdk.gm.errors import GmKeyError
from guqiao_sdk.gm.sm3 import sm3

P: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC
B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G_X: Final = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
G_Y: Final = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0

USER_ID: Final = b"1234567812345678"
SCALAR_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
PUBLIC_KEY_SIZE: Final = 65
UNCOMPRESSED: Final = 0x04

_ZA_PREFIX: Final = (len(USER_ID) * 8).to_bytes(2, "big") + USER_ID
_ZA_CURVE: Final = b"".join(value.to_bytes(32, "big") for value in (A, B, G_X, G_Y))


def za(public_key: bytes, user_id: bytes = USER_ID) -> bytes:
    """Return Z_A, which binds the signer's id, the curve and the public key to every signature."""
    prefix = _ZA_PREFIX if user_id == USER_ID else (len(user_id) * 8).to_bytes(2, "big") + user_id
    return sm3(prefix + _ZA_CURVE + public_key[1:])


def is_public_key(public_key: bytes) -> bool:
    """Tell whether the bytes are an uncompressed point of the SM2 curve."""
    if len(public_key) != PUBLIC_KEY_SIZE or public_key[0] != UNCOMPRESSED:
        return False
    x = int.from_bytes(public_key[1:33], "big")
    y = int.from_bytes(public_key[33:], "big")
    return x < P and y < P and (y * y - (x * x + A) * x - B) % P == 0


def split_signature(signature: bytes) -> tuple[int, int] | None:
    """Return (r, s) of a 64-byte signature with 0 < r, s < n and r + s != n, else None."""
    if len(signature) != SIGNATURE_SIZE:
        return None
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not (0 < r < N and 0 < s < N) or r + s == N:
        return None
    return r, s


def signature_to_der(signature: bytes) -> bytes:
    """Return the X.509 form of a 64-byte signature."""
    assert len(signature) == SIGNATURE_SIZE
    return encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )


def signature_from_der(encoded: bytes) -> bytes:
    """Return the 64-byte form of a DER signature that our own backend made."""
    r, s = decode_dss_signature(encoded)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def check_scalar(scalar: bytes) -> int:
    """Return the scalar d as a number, or raise unless it is 32 bytes with 1 <= d <= n-2."""
    d = int.from_bytes(scalar, "big")
    if len(scalar) != SCALAR_SIZE or not 1 <= d <= N - 2:
        raise GmKeyError(
            f"an SM2 private key is 32 bytes between 1 and n-2; got {len(scalar)} bytes "
            "out of that range. Generate a new key.",
            f"SM2 私钥应为 32 字节且在 1 到 n-2 之间;收到 {len(scalar)} 字节,不在此范围。"
            "请重新生成密钥。",
        )
    return d


class PrivateKey:
    """An SM2 private key. Opaque: it prints without giving the scalar away, and does not pickle."""

    __slots__ = ("_handle", "_scalar", "public_key")

    def __init__(self, scalar: bytes, public_key: bytes, handle: object = None) -> None:
        self._scalar = scalar
        self._handle = handle
        self.public_key: Final = public_key

    def export_scalar(self) -> bytes:
        """Return the secret itself. Only key files and backends have a reason to call this."""
        return self._scalar

    @property
    def handle(self) -> object:
        """What the backend that made this key keeps beside it; None for another backend's key."""
        return self._handle

    def __repr__(self) -> str:
        return f"PrivateKey(public_key={self.public_key.hex()[:16]}…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled: use guqiao_sdk.gm.keyfile")
