"""Seals a document to its readers, and opens it for one of them (requirements G2-17-5, G2-19-1).

Every body has a key and a nonce of its own. Whoever has no envelope cannot open it; a changed byte
anywhere, an envelope from elsewhere, or another place on the chain is refused, with a code.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from guqiao_sdk.gm.errors import GmDecryptError, GmError, GmParameterError
from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.gm.sm4 import KEY_SIZE, NONCE_SIZE
from guqiao_sdk.sealed_form import (
    BODY_BYTES_MAX,
    READERS_MAX,
    Envelope,
    SealContext,
    Sealed,
    associated_data,
    commitment_to,
)


class NotAReaderError(GmError):
    """No envelope is for this identity and key."""

    code = "SEALED_FOR_OTHERS"


class SealedChangedError(GmError):
    """It was changed, or stood elsewhere when it was sealed."""

    code = "SEALED_CHANGED"


def seal(
    provider: GmProvider,
    plaintext: bytes,
    readers: Mapping[str, bytes],
    context: SealContext,
) -> Sealed:
    """Seal 1 to 524,288 bytes for 1 to 256 readers, given by DID with their public keys.

    Raises `GmParameterError` for another size or number, `GmKeyError` for what is no key.
    """
    if not 1 <= len(plaintext) <= BODY_BYTES_MAX:
        raise GmParameterError(
            f"a sealed document has 1 to {BODY_BYTES_MAX} bytes; got {len(plaintext)}",
            f"加密文档应为 1 至 {BODY_BYTES_MAX} 字节；收到 {len(plaintext)} 字节",
        )
    if not 1 <= len(readers) <= READERS_MAX:
        raise GmParameterError(
            f"a document is sealed to 1 to {READERS_MAX} readers; got {len(readers)}",
            f"文档应加密给 1 至 {READERS_MAX} 位读者；收到 {len(readers)} 位",
        )
    key, nonce = secrets.token_bytes(KEY_SIZE), secrets.token_bytes(NONCE_SIZE)
    envelopes = tuple(
        Envelope(did, public_key, provider.sm2_encrypt(public_key, key))
        for did, public_key in sorted(readers.items())
    )
    bound = associated_data(context, nonce, envelopes)
    body = provider.sm4_gcm_encrypt(key, nonce, plaintext, bound)
    return Sealed(nonce, commitment_to(key, bound), envelopes, body)


def open_sealed(
    provider: GmProvider, did: str, private_key: PrivateKey, sealed: Sealed, context: SealContext
) -> bytes:
    """Return the plaintext, or raise `NotAReaderError` or `SealedChangedError`."""
    envelope = sealed.envelope_of(did)
    if envelope is None or envelope.public_key != private_key.public_key:
        raise NotAReaderError(
            f"it is sealed to others, and not to this key of {did}",
            f"该文档加密给其他读者，未加密给 {did} 的这把密钥",
        )
    try:
        key = provider.sm2_decrypt(private_key, envelope.sealed_key)
    except GmDecryptError:
        raise _changed("the envelope does not open", "信封无法打开") from None
    bound = sealed.associated_data(context)
    if len(key) != KEY_SIZE or not hmac.compare_digest(
        commitment_to(key, bound), sealed.commitment
    ):
        raise _changed(_MOVED[0], _MOVED[1])
    try:
        return provider.sm4_gcm_decrypt(key, sealed.nonce, sealed.body, bound)
    except GmDecryptError:
        raise _changed("the body does not authenticate", "正文未通过认证") from None


_MOVED: Final = (
    "the envelopes are not those of this document, version and chain",
    "信封不属于本链上的这份文档和版本",
)


def _changed(en: str, zh: str) -> SealedChangedError:
    return SealedChangedError(f"the sealed document was changed: {en}", f"加密文档已被改动：{zh}")
