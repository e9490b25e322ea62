"""Bodies sealed each under a key of its own, whichever store keeps them (G2-17-1, -7, -8).

What stands on chain is the digest over a random salt and the body: salt and key lie with
`BodyKeys` and die together, and with them whatever could be learnt from the chain or a copy.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.errors import GmDecryptError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm4 import NONCE_SIZE, TAG_SIZE
from guqiao_sdk.object_store.body_keys import BodyKeys
from guqiao_sdk.object_store.errors import BodySizeError, BodyTamperedError, ObjectStoreError
from guqiao_sdk.object_store.port import ObjectStore, new_reference
from guqiao_sdk.proof.canonical import digest, tagged

BODY_BYTES_MAX: Final = 64 * 1024 * 1024

_MAGIC: Final = b"guqiao-body/1\n"
_OVERHEAD_BYTES: Final = len(_MAGIC) + NONCE_SIZE + TAG_SIZE


@dataclass(frozen=True, slots=True)
class BodyDescription:
    """What may stand on chain of a body: salted SM3 digest, size in bytes, reference."""

    digest: bytes
    size: int
    reference: str


class EncryptedStore:
    """Puts, gets and erases bodies. The store sees ciphertext only, the keys never a body."""

    def __init__(self, store: ObjectStore, keys: BodyKeys, provider: GmProvider) -> None:
        self._store = store
        self._keys = keys
        self._provider = provider

    async def put(self, body: bytes) -> BodyDescription:
        """Keep a body of 1 byte to 64 MiB and describe it. Where that fails, its key is destroyed:
        nothing is left that would open.
        """
        if not 1 <= len(body) <= BODY_BYTES_MAX:
            raise BodySizeError(
                f"a body has 1 to {BODY_BYTES_MAX} bytes; got {len(body)}",
                f"正文应为 1 至 {BODY_BYTES_MAX} 字节；收到 {len(body)} 字节",
            )
        reference = new_reference()
        made = await asyncio.to_thread(self._keys.make, reference)
        try:
            nonce = secrets.token_bytes(NONCE_SIZE)
            sealed = await asyncio.to_thread(
                self._provider.sm4_gcm_encrypt, made.key, nonce, body, _bound(reference)
            )
            await self._store.put(reference, _MAGIC + nonce + sealed)
        except ObjectStoreError:
            await asyncio.to_thread(self._keys.destroy, reference)
            raise
        return BodyDescription(body_digest(made.salt, body), len(body), reference)

    async def get(self, reference: str, described: bytes) -> bytes:
        """Return the body of which `described` is the digest on chain.

        Raises `BodyErasedError`, `BodyUnknownError`, or `BodyTamperedError` for any other body.
        """
        found = await asyncio.to_thread(self._keys.find, reference)
        stored = await self._store.get(reference)
        if not stored.startswith(_MAGIC) or not (
            _OVERHEAD_BYTES < len(stored) <= BODY_BYTES_MAX + _OVERHEAD_BYTES
        ):
            raise _tampered(reference)
        at = len(_MAGIC) + NONCE_SIZE
        nonce, sealed = stored[len(_MAGIC) : at], stored[at:]
        try:
            body = await asyncio.to_thread(
                self._provider.sm4_gcm_decrypt, found.key, nonce, sealed, _bound(reference)
            )
        except GmDecryptError:
            raise _tampered(reference) from None
        if not hmac.compare_digest(body_digest(found.salt, body), described):
            raise _tampered(reference)
        return body

    async def erase(self, reference: str) -> None:
        """Destroy key and salt, then remove the body. Interrupted anywhere, it is finished by
        erasing again; from the first step on nothing opens. Raises `BodyUnknownError`.
        """
        await asyncio.to_thread(self._keys.destroy, reference)
        await self._store.delete(reference)


def body_digest(salt: bytes, body: bytes) -> bytes:
    """The digest that stands on chain, 32 bytes: without the salt nobody can try texts on it."""
    return digest("guqiao/nonpublic-body/1", salt, body)


def _bound(reference: str) -> bytes:
    return tagged("guqiao/body/1", reference.encode())


def _tampered(reference: str) -> BodyTamperedError:
    return BodyTamperedError(
        f"what is kept under {reference} is not the body that the chain describes",
        f"引用 {reference} 下的内容不是链上描述的正文",
    )
