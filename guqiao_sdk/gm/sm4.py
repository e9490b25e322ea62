"""SM4-GCM (GB/T 32907, RFC 8998): 16-byte key, 12-byte nonce, 16-byte tag at the end.

A nonce must never repeat under one key: callers count, or draw 12 random bytes for at most 2^32
messages. What fails to authenticate raises and yields no plaintext.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM

from guqiao_sdk.gm.errors import GmDecryptError, GmParameterError

KEY_SIZE: Final = 16
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16


def sm4_gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return ciphertext and tag. `aad` is authenticated, not encrypted."""
    _check_sizes(key, nonce)
    encryptor = Cipher(SM4(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(aad)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def sm4_gcm_decrypt(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext, or raise `GmDecryptError` if anything was changed."""
    _check_sizes(key, nonce)
    if len(sealed) < TAG_SIZE:
        raise _refused()
    decryptor = Cipher(SM4(key), GCM(nonce, sealed[-TAG_SIZE:])).decryptor()
    decryptor.authenticate_additional_data(aad)
    plaintext = decryptor.update(sealed[:-TAG_SIZE])
    try:
        return plaintext + decryptor.finalize()
    except (InvalidTag, ValueError):  # ValueError, if OpenSSL's queue held an older error.
        raise _refused() from None


def _check_sizes(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise GmParameterError(
            f"SM4-GCM takes a {KEY_SIZE}-byte key and a {NONCE_SIZE}-byte nonce; "
            f"got {len(key)} and {len(nonce)} bytes",
            f"SM4-GCM 需要 {KEY_SIZE} 字节密钥和 {NONCE_SIZE} 字节随机数;"
            f"收到 {len(key)} 和 {len(nonce)} 字节",
        )


def _refused() -> GmDecryptError:
    return GmDecryptError(
        "the data does not authenticate: wrong key, nonce or context, or it was changed. "
        "Fetch it again and check which key sealed it.",
        "数据未通过认证:密钥、随机数或上下文不符,或数据被改动。请重新获取并核对加密所用密钥。",
    )
