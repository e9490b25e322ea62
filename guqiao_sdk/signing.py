"""Request signatures: which bytes are signed, and how a client signs them with SM2.

The signature binds the audience (domain, service), the method, the digest of the message bytes as
sent, the time, a nonce and the key. Every attempt is signed anew, retries included, because a
server accepts a nonce once. Servers verify with the same functions; this module imports no gRPC.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import tagged

REQUEST_TAG: Final = "guqiao/request/1"
STREAM_ITEM_TAG: Final = "guqiao/stream-item/1"

DID_KEY: Final = "guqiao-did"
KEY_ID_KEY: Final = "guqiao-key-id"
TIME_KEY: Final = "guqiao-time-ms"
NONCE_KEY: Final = "guqiao-nonce"
SIGNATURE_KEY: Final = "guqiao-signature-bin"

NONCE_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
COUNTER_BYTES: Final = 8
STREAM_OPENING: Final = b""


@dataclass(frozen=True, slots=True)
class Audience:
    """For whom a request is meant: a domain (`shandong`) and a service in it (`registry`)."""

    domain: str
    service: str


@dataclass(frozen=True, slots=True)
class RequestStamp:
    """What is signed besides audience, method and message. `nonce` is 32 lower-case hex digits."""

    did: str
    key_id: str
    time_ms: int
    nonce: str


def request_sign_bytes(
    audience: Audience, method: str, message: bytes, stamp: RequestStamp
) -> bytes:
    """The bytes signed for one request. `method` is the full name, `/package.Service/Method`; a
    stream signs b"".
    """
    return tagged(
        REQUEST_TAG,
        audience.domain.encode(),
        audience.service.encode(),
        method.encode(),
        sm3(message),
        stamp.time_ms.to_bytes(8, "big"),
        bytes.fromhex(stamp.nonce),
        stamp.did.encode(),
        stamp.key_id.encode(),
    )


def stream_item_sign_bytes(
    audience: Audience, method: str, message: bytes, stamp: RequestStamp, counter: int
) -> bytes:
    """The bytes signed for item `counter` (from 1) of the stream that `stamp` opened."""
    return tagged(
        STREAM_ITEM_TAG,
        audience.domain.encode(),
        audience.service.encode(),
        method.encode(),
        sm3(message),
        counter.to_bytes(COUNTER_BYTES, "big"),
        bytes.fromhex(stamp.nonce),
        stamp.did.encode(),
        stamp.key_id.encode(),
    )


class SigningProvider(Protocol):
    """The part of the crypto provider that a client uses; the private key is the provider's own
    opaque object.
    """

    def sign(self, private: Any, message: bytes) -> bytes:
        """The SM2 signature over `message`, 64 bytes."""


def system_time_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """Signs the requests of one identity to one service."""

    did: str
    key_id: str
    private: Any = field(repr=False)
    provider: SigningProvider
    domain: str
    service: str
    now_ms: Callable[[], int] = system_time_ms

    @property
    def audience(self) -> Audience:
        """For whom this signer's requests are meant."""
        return Audience(self.domain, self.service)

    def stamp(self) -> RequestStamp:
        """A fresh time and nonce, for one attempt."""
        return RequestStamp(
            self.did, self.key_id, self.now_ms(), secrets.token_bytes(NONCE_BYTES).hex()
        )

    def metadata(
        self, method: str, message: bytes, stamp: RequestStamp
    ) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata that carries the signature of `message` under `stamp`."""
        signed = request_sign_bytes(self.audience, method, message, stamp)
        return (
            (DID_KEY, stamp.did),
            (KEY_ID_KEY, stamp.key_id),
            (TIME_KEY, str(stamp.time_ms)),
            (NONCE_KEY, stamp.nonce),
            (SIGNATURE_KEY, self.provider.sign(self.private, signed)),
        )

    def seal_item(self, method: str, message: bytes, stamp: RequestStamp, counter: int) -> bytes:
        """One item of a signed stream as it is sent: counter (8 bytes), signature (64 bytes),
        message.
        """
        signed = stream_item_sign_bytes(self.audience, method, message, stamp, counter)
        signature = self.provider.sign(self.private, signed)
        return counter.to_bytes(COUNTER_BYTES, "big") + signature + message
