"""SM2 by the pure-Python `gmssl` package: the fallback where no libcrypto knows SM2.

Some forty times slower than libcrypto and not constant-time: for trials, chosen only with a loud
warning. The package is guarded: keys are checked to be on the curve (it does not), the nonce is
always drawn here from the system's CSPRNG, keys are handed over without the "04" prefix that it
strips too eagerly, and the two halves of a verification are added here, because its own sum is
wrong when they are equal.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from typing import Any, Final

from gmssl.sm2 import CryptSM2

from guqiao_sdk.gm import sm2, sm2_cipher, sm4
from guqiao_sdk.gm.sm2 import PrivateKey
from guqiao_sdk.gm.sm3 import sm3

_GENERATOR: Final = f"{sm2.G_X:064x}{sm2.G_Y:064x}"
_HEX_COORDINATE: Final = 64


class GmsslProvider:
    """`GmProvider` in pure Python."""

    name: Final = "gmssl"

    def keygen(self) -> PrivateKey:
        """Make a new key from the system's CSPRNG."""
        return self.load_private_key(_random_scalar().to_bytes(32, "big"))

    def load_private_key(self, scalar: bytes) -> PrivateKey:
        """Take a key from its 32-byte scalar, or raise `GmKeyError`."""
        d = sm2.check_scalar(scalar)
        point: str = _engine("", "")._kg(d, _GENERATOR)
        return PrivateKey(scalar, bytes([sm2.UNCOMPRESSED]) + bytes.fromhex(point))

    def sign(self, private: PrivateKey, message: bytes) -> bytes:
        """Return the 64-byte signature r||s of `message` under the default user id."""
        digest = sm3(sm2.za(private.public_key) + message)
        engine = _engine(private.export_scalar().hex(), private.public_key.hex()[2:])
        signature: str | None = None
        while signature is None:  # Again only when r or s came out as 0: once in 2^255.
            signature = engine.sign(digest, f"{_random_scalar():064x}")
        return bytes.fromhex(signature)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is valid. Any bytes give an answer, never an exception."""
        pair = sm2.split_signature(signature)
        if pair is None or not sm2.is_public_key(public_key):
            return False
        digest = int.from_bytes(sm3(sm2.za(public_key) + message), "big")
        return verify_digest(public_key, digest, *pair)

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        """Judge (public key, message, signature) items one by one: threads would not help here."""
        return [self.verify(*item) for item in items]

    def sm2_encrypt(self, public_key: bytes, plaintext: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm2_cipher`. The package's own encryption draws its nonce from a
        generator that can be foreseen, so that only its multiplication is taken.
        """
        sm2_cipher.check_plaintext(plaintext)
        if not sm2.is_public_key(public_key):
            raise sm2_cipher.not_a_key()
        masked: bytes | None = None
        while masked is None:
            k = _random_scalar()
            shared = _multiplied(k, public_key.hex()[2:])
            masked = sm2_cipher.masked(shared, plaintext)
        point = bytes([sm2.UNCOMPRESSED]) + _multiplied(k, _GENERATOR)
        check = sm2_cipher.check_of(shared, plaintext)
        return sm2_cipher.Sm2Cipher(point, check, masked).encode()

    def sm2_decrypt(self, private: PrivateKey, sealed: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm2_cipher`."""
        cipher = sm2_cipher.decode_cipher(sealed)
        d = int.from_bytes(private.export_scalar(), "big")
        shared = _multiplied(d, cipher.point.hex()[2:])
        plaintext = sm2_cipher.masked(shared, cipher.masked)
        if plaintext is None:
            raise sm2_cipher.refused()
        if not hmac.compare_digest(sm2_cipher.check_of(shared, plaintext), cipher.check):
            raise sm2_cipher.refused()
        return plaintext

    def sm4_gcm_encrypt(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm4`."""
        return sm4.sm4_gcm_encrypt(key, nonce, plaintext, aad)

    def sm4_gcm_decrypt(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm4`."""
        return sm4.sm4_gcm_decrypt(key, nonce, sealed, aad)


def verify_digest(public_key: bytes, digest: int, r: int, s: int) -> bool:
    """GB/T 32918.2 section 7.1, steps B5 to B7, for a checked key and checked r and s."""
    engine = _engine("", "")
    t = (r + s) % sm2.N
    left: str = engine._kg(s, _GENERATOR)
    right: str = engine._kg(t, public_key.hex()[2:])
    doubled = left == right
    total = engine._double_point(left + "1") if doubled else engine._add_point(left + "1", right)
    point: str | None = engine._convert_jacb_to_nor(total)
    if point is None:  # The point at infinity.
        return False
    return r == (digest + int(point[:_HEX_COORDINATE], 16)) % sm2.N


def _multiplied(k: int, point: str) -> bytes:
    """x||y, 64 bytes, of k times a point of the curve, 1 <= k < n: never infinity."""
    product: str = _engine("", "")._kg(k, point)
    return bytes.fromhex(product)


def _engine(private_hex: str, public_hex: str) -> Any:
    engine: Any = CryptSM2(private_key=private_hex, public_key="")
    engine.public_key = public_hex
    return engine


def _random_scalar() -> int:
    return secrets.randbelow(sm2.N - 2) + 1
