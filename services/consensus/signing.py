"""Signatures of the replica: its own, and the judgement of everybody else's.

Nothing unverified goes further: peers' messages are authenticated here, off the event loop, before
the core sees them, and transactions pass stateless admission; signatures that held are remembered,
so that a proposed batch costs only what was not seen before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.gm.sm3 import sm3
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import Reject
from services.consensus.domain.epochs import Core
from services.consensus.domain.ledger.admission import (
    AdmittedTransaction,
    Refused,
    check_stateless_many,
)
from services.consensus.domain.messages import PeerMessage, ReplicaId

VERIFIED_MAX: Final = 50_000


def signer(provider: GmProvider, private_key: PrivateKey) -> Callable[[bytes], bytes]:
    """The core's `sign`."""

    def sign(message: bytes) -> bytes:
        return provider.sign(private_key, message)

    return sign


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Judges peers' messages. `judge` blocks: call it in a thread."""

    window: int
    provider: GmProvider

    def judge(self, core: Core, messages: Sequence[tuple[int, PeerMessage]]) -> list[Reject | None]:
        """For each (sender, message): None if it is authentic in the epoch of `core`, of which
        nothing else is read, else what is wrong.
        """
        replica_set, base = core.replica_set, core.base
        return [
            authenticate(
                message, ReplicaId(sender), replica_set, self.provider.verify, self.window, base
            )
            for sender, message in messages
        ]


class Admission:
    """The stateless part of admission, with the signatures that held remembered.

    The rules are asked anew each time (an expiry depends on the batch); a signature only once.
    `judge` blocks and is called from one thread.
    """

    def __init__(self, chain_id: str, provider: GmProvider, size_max: int = VERIFIED_MAX) -> None:
        self._chain_id = chain_id
        self._provider = provider
        self._size_max = size_max
        self._held: OrderedDict[bytes, None] = OrderedDict()

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
        )

    def _verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        keys = [sm3(public_key + signature + message) for public_key, message, signature in items]
        missing = [index for index, key in enumerate(keys) if key not in self._held]
        held = [True] * len(items)
        for index, holds in zip(
            missing, self._provider.verify_many([items[index] for index in missing]), strict=True
        ):
            held[index] = holds
            if holds:
                self._held[keys[index]] = None
        while len(self._held) > self._size_max:
            self._held.popitem(last=False)
        return held
