"""Reads and verifies the signature of a request; knows nothing of gRPC but its metadata.

The order is cheap first: form, time, key, signature. The nonce is remembered only after the
signature held, so that nobody without a key can fill the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from guqiao_sdk.signing import (
    COUNTER_BYTES,
    DID_KEY,
    KEY_ID_KEY,
    NONCE_KEY,
    SIGNATURE_BYTES,
    SIGNATURE_KEY,
    TIME_KEY,
    Audience,
    RequestStamp,
    request_sign_bytes,
    stream_item_sign_bytes,
)
from services.chassis.errors import UnauthenticatedError
from services.chassis.grpc_server.ports import KeyDirectory, KeyRecord, NonceStore, Verifier

WINDOW_SECONDS: Final = 300
CLOCKS_DIFFER_SECONDS_MAX: Final = 60
"""Nonces stay so much longer than the window: another instance, whose clock is behind, may still
take what this one refuses.
"""
NONCE_SECONDS: Final = WINDOW_SECONDS + CLOCKS_DIFFER_SECONDS_MAX
"""So long after its stamp a request's nonce is remembered."""
NONCE_SECONDS_MAX: Final = WINDOW_SECONDS + NONCE_SECONDS
"""So long at most from now on: a stamp may lie ahead by the window."""

_NAME: Final = re.compile(r"[!-~]{1,256}")
_TIME: Final = re.compile(r"[1-9][0-9]{0,14}")
_NONCE: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """A request's stamp and signature, well-formed but not verified."""

    stamp: RequestStamp
    signature: bytes


def read_signature(metadata: Iterable[tuple[str, str | bytes]]) -> RequestSignature:
    """The signature that the metadata carries, or REQUEST_UNSIGNED naming the field that is
    missing or malformed.
    """
    values: dict[str, str | bytes] = {}
    for key, value in metadata:
        if key in (DID_KEY, KEY_ID_KEY, TIME_KEY, NONCE_KEY, SIGNATURE_KEY):
            if key in values:
                _unsigned(key)  # Two values could mean one thing to us and another to a proxy.
            values[key] = value
    signature = values.get(SIGNATURE_KEY)
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        _unsigned(SIGNATURE_KEY)
    stamp = RequestStamp(
        did=_text(values, DID_KEY, _NAME),
        key_id=_text(values, KEY_ID_KEY, _NAME),
        time_ms=int(_text(values, TIME_KEY, _TIME)),
        nonce=_text(values, NONCE_KEY, _NONCE),
    )
    return RequestSignature(stamp, signature)


def _text(values: dict[str, str | bytes], key: str, form: re.Pattern[str]) -> str:
    value = values.get(key)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        _unsigned(key)
    return value


def _unsigned(key: str) -> NoReturn:
    raise UnauthenticatedError("REQUEST_UNSIGNED", field=key)


@dataclass(frozen=True, slots=True)
class SignatureVerifier:
    """Verifies requests addressed to one audience."""

    audience: Audience
    keys: KeyDirectory
    nonces: NonceStore
    provider: Verifier

    async def find_key(self, stamp: RequestStamp, now_ms: int) -> KeyRecord:
        """The key named by the stamp, if it may be used now."""
        key = await self.keys.find(stamp.did, stamp.key_id)
        if key is None:
            raise UnauthenticatedError("KEY_UNKNOWN", did=stamp.did, key_id=stamp.key_id)
        if key.revoked:
            raise UnauthenticatedError("KEY_REVOKED", did=stamp.did, key_id=stamp.key_id)
        if not key.not_before_ms <= now_ms < key.not_after_ms:
            raise UnauthenticatedError("KEY_EXPIRED", did=stamp.did, key_id=stamp.key_id)
        return key

    async def verify(
        self, request: RequestSignature, *, method: str, message: bytes, now_ms: int
    ) -> KeyRecord:
        """The key that signed this very message for this method and audience, now and for the
        first time.
        """
        stamp = request.stamp
        if abs(now_ms - stamp.time_ms) > WINDOW_SECONDS * 1_000:
            raise UnauthenticatedError("REQUEST_EXPIRED", window_seconds=WINDOW_SECONDS)
        key = await self.find_key(stamp, now_ms)
        signed = request_sign_bytes(self.audience, method, message, stamp)
        if not self.provider.verify(key.public_key, signed, request.signature):
            raise UnauthenticatedError(
                "REQUEST_SIGNATURE_INVALID",
                method=method,
                domain=self.audience.domain,
                service=self.audience.service,
            )
        expires_at_ms = stamp.time_ms + NONCE_SECONDS * 1_000
        if not await self.nonces.remember(stamp.did, stamp.nonce, expires_at_ms):
            raise UnauthenticatedError("REQUEST_REPLAYED", did=stamp.did)
        return key

    def open_item(
        self, sealed: bytes, *, method: str, stamp: RequestStamp, key: KeyRecord, counter: int
    ) -> bytes:
        """The message inside item `counter` of a signed stream, or STREAM_ITEM_INVALID."""
        prefix = COUNTER_BYTES + SIGNATURE_BYTES
        signature, message = sealed[COUNTER_BYTES:prefix], sealed[prefix:]
        in_order = sealed[:COUNTER_BYTES] == counter.to_bytes(COUNTER_BYTES, "big")
        if len(sealed) < prefix or not in_order:
            raise UnauthenticatedError("STREAM_ITEM_INVALID", item=counter)
        signed = stream_item_sign_bytes(self.audience, method, message, stamp, counter)
        if not self.provider.verify(key.public_key, signed, signature):
            raise UnauthenticatedError("STREAM_ITEM_INVALID", item=counter)
        return message
