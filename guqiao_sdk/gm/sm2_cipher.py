"""SM2 public-key encryption (GB/T 32918.4) as far as it needs no backend: form, mask and check.

A ciphertext is the `SM2Cipher` of GB/T 35276: the DER of point C1 (x, y), check C3 and masked text
C2, in this order. Both backends take its strict reading from here, so that they open exactly the
same bytes. It seals keys and other short texts; what is long is sealed under SM4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat import asn1

from guqiao_sdk.gm import sm2
from guqiao_sdk.gm.errors import GmDecryptError, GmKeyError, GmParameterError
from guqiao_sdk.gm.sm3 import DIGEST_SIZE, sm3

PLAINTEXT_BYTES_MAX: Final = 4_096
OVERHEAD_BYTES_MAX: Final = 128
"""What a ciphertext has at most beyond its plaintext."""

_COORDINATE: Final = 32


@asn1.sequence
@dataclass(frozen=True, slots=True)
class _Fields:
    """The members of the structure, in its order."""

    x: int
    y: int
    check: bytes
    masked: bytes


@dataclass(frozen=True, slots=True)
class Sm2Cipher:
    """C1 as an uncompressed point of the curve, C3 with 32 bytes, C2 as long as the plaintext."""

    point: bytes
    check: bytes
    masked: bytes

    def encode(self) -> bytes:
        """Return the DER, of which there is one."""
        x, y = self.point[1 : 1 + _COORDINATE], self.point[1 + _COORDINATE :]
        encoded: bytes = asn1.encode_der(
            _Fields(int.from_bytes(x, "big"), int.from_bytes(y, "big"), self.check, self.masked)
        )
        return encoded


def decode_cipher(sealed: bytes) -> Sm2Cipher:
    """Read a ciphertext, or raise `GmDecryptError`: no other bytes mean the same."""
    if len(sealed) > PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX:
        raise refused()
    try:
        fields = asn1.decode_der(_Fields, sealed)
    except ValueError:
        raise refused() from None
    if not (0 <= fields.x < sm2.P and 0 <= fields.y < sm2.P):
        raise refused()
    numbers = (fields.x.to_bytes(_COORDINATE, "big"), fields.y.to_bytes(_COORDINATE, "big"))
    point = bytes([sm2.UNCOMPRESSED]) + b"".join(numbers)
    if not sm2.is_public_key(point) or len(fields.check) != DIGEST_SIZE or not fields.masked:
        raise refused()
    return Sm2Cipher(point, fields.check, fields.masked)


def mask(shared: bytes, size: int) -> bytes:
    """The key derivation of GB/T 32918.4 section 5.4.3 over x2||y2, 64 bytes."""
    count = -(-size // DIGEST_SIZE)
    parts = (sm3(shared + number.to_bytes(4, "big")) for number in range(1, count + 1))
    return b"".join(parts)[:size]


def masked(shared: bytes, text: bytes) -> bytes | None:
    """Mask a text, or take the mask off; None where the mask is all zero, which hides nothing."""
    key = mask(shared, len(text))
    if not any(key):
        return None
    return bytes(left ^ right for left, right in zip(text, key, strict=True))


def check_of(shared: bytes, plaintext: bytes) -> bytes:
    """C3: SM3 over x2, the plaintext and y2."""
    return sm3(shared[:_COORDINATE] + plaintext + shared[_COORDINATE:])


def check_plaintext(plaintext: bytes) -> None:
    """Raise `GmParameterError` for what is not sealed this way: nothing, or too much."""
    if not 1 <= len(plaintext) <= PLAINTEXT_BYTES_MAX:
        raise GmParameterError(
            f"SM2 encrypts 1 to {PLAINTEXT_BYTES_MAX} bytes; got {len(plaintext)}. "
            "Seal what is longer under an SM4 key.",
            f"SM2 公钥加密的明文应为 1 至 {PLAINTEXT_BYTES_MAX} 字节;收到 {len(plaintext)} 字节。"
            "更长的内容请用 SM4 密钥加密。",
        )


def refused() -> GmDecryptError:
    """What is raised for any ciphertext that does not open, without saying why."""
    return GmDecryptError(
        "the ciphertext does not open with this SM2 key: another key, or it was changed. "
        "Fetch it again and check for whom it was sealed.",
        "该 SM2 密钥无法解开密文:密钥不符,或密文被改动。请重新获取并核对密文的接收方。",
    )


def not_a_key() -> GmKeyError:
    """What is raised for a public key under which nothing can be sealed."""
    return GmKeyError(
        "this is no SM2 public key: 65 bytes, an uncompressed point of the curve. "
        "Ask its owner for the key.",
        "这不是 SM2 公钥:应为 65 字节的曲线上未压缩点。请向密钥所有者索取。",
    )
