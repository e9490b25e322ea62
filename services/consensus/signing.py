"""Signatures of the replica: its own, and the judgement of everybody else's.

Nothing unverified goes further: peers' messages are authenticated here, off the event loop, before
the core sees them, and transactions pass stateless admission. Signatures that held are remembered,
so that what comes again costs nothing: a batch of transactions that were passed on before, votes
that are sent again, a new-view that is made of view-changes and votes that everybody has seen.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.gm.sm3 import sm3
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import Reject
from services.consensus.domain.epochs import Core
from services.consensus.domain.ledger.admission import (
    PAYLOAD_VALUES_MAX,
    AdmittedTransaction,
    Refused,
    check_expiry,
    check_stateless_many,
)
from services.consensus.domain.messages import PeerMessage, ReplicaId

VERIFIED_MAX: Final = 50_000
VERIFIED_VOTES_MAX: Final = 10_000


def signer(provider: GmProvider, private_key: PrivateKey) -> Callable[[bytes], bytes]:
    """The core's `sign`."""

    def sign(message: bytes) -> bytes:
        return provider.sign(private_key, message)

    return sign


class _Held:
    """The latest signatures that held, by what they cover and whose they are. For any thread."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._keys: OrderedDict[bytes, None] = OrderedDict()
        self._adding = threading.Lock()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> None:
        with self._adding:
            self._keys[key] = None
            while len(self._keys) > self._size_max:
                self._keys.popitem(last=False)


def _key(public_key: bytes, message: bytes, signature: bytes) -> bytes:
    lengths = b"%d,%d," % (len(public_key), len(signature))  # So that no two triples run together.
    return sm3(lengths + public_key + signature + message)


def _votes_held() -> _Held:
    return _Held(VERIFIED_VOTES_MAX)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Judges peers' messages. `judge` blocks and is called from one thread."""

    window: int
    provider: GmProvider
    _held: _Held = field(default_factory=_votes_held)

    def judge(self, core: Core, messages: Sequence[tuple[int, PeerMessage]]) -> list[Reject | None]:
        """For each (sender, message): None if it is authentic in the epoch of `core`, of which
        nothing else is read, else what is wrong.
        """
        replica_set, base = core.replica_set, core.base
        return [
            authenticate(message, ReplicaId(sender), replica_set, self._verify, self.window, base)
            for sender, message in messages
        ]

    def _verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        key = _key(public_key, message, signature)
        if key in self._held:
            return True
        holds = self.provider.verify(public_key, message, signature)
        if holds:
            self._held.add(key)
        return holds


class Admission:
    """The stateless part of admission, with the signatures that held remembered.

    The rules are asked anew each time (an expiry depends on the batch); a signature only once.
    `judge` and `judge_batch` block; each may be called from a thread of its own. What has more than
    PAYLOAD_VALUES_MAX values is refused unread.
    """

    def __init__(self, chain_id: str, provider: GmProvider, size_max: int = VERIFIED_MAX) -> None:
        self._chain_id = chain_id
        self._provider = provider
        self._held = _Held(size_max)

    def judge(
        self, encoded: Sequence[bytes], *, now_height: int, block_time_ms: int
    ) -> list[AdmittedTransaction | Refused]:
        """Judge transactions for submission, or those of a batch proposed at `now_height` + 1."""
        return check_stateless_many(
            encoded,
            chain_id=self._chain_id,
            now_height=now_height,
            block_time_ms=block_time_ms,
            verify_many=self._verify_many,
            values_max=PAYLOAD_VALUES_MAX,
        )

    def judge_batch(
        self,
        encoded: Sequence[bytes],
        known: Sequence[AdmittedTransaction | None],
        *,
        now_height: int,
        block_time_ms: int,
    ) -> list[AdmittedTransaction | Refused]:
        """The same for a batch of which some were admitted before in the very same bytes: of these
        only the expiry is asked again.
        """
        missing = [data for data, found in zip(encoded, known, strict=True) if found is None]
        judged = iter(self.judge(missing, now_height=now_height, block_time_ms=block_time_ms))
        return [
            next(judged)
            if found is None
            else check_expiry(found.payload, now_height, block_time_ms) or found
            for found in known
        ]

    def _verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        keys = [_key(*item) for item in items]
        missing = [index for index, key in enumerate(keys) if key not in self._held]
        held = [True] * len(items)
        for index, holds in zip(
            missing, self._provider.verify_many([items[index] for index in missing]), strict=True
        ):
            held[index] = holds
            if holds:
                self._held.add(keys[index])
        return held
