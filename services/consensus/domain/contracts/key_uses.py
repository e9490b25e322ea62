"""What each key of the chain is for: voting, governing, signing operations, or approving a restart.

A key has one use for ever (design section 5): whoever holds one of them holds nothing of another.
The state keeps the use of every key that genesis, the identity contract, a set change or a restart
has named, in the identity contract's namespace, so that asking costs one look-up. A key that is
revoked or replaced keeps its use.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Protocol

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.identity_record import IdentityRecord

IDENTITY: Final = "identity"


class KeyUse(StrEnum):
    """What a key is for."""

    VOTE = "VOTE"
    GOVERNANCE = "GOVERNANCE"
    SIGNING = "SIGNING"
    RESTART = "RESTART"


class UsesReader(Protocol):
    """The keys of the identity contract, for reading."""

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, or None."""
        ...


class UsesWriter(UsesReader, Protocol):
    """The same for writing."""

    def put(self, key: str, value: Json) -> None:
        """Write `value` under `key`."""
        ...


def use_key(public_key: bytes) -> str:
    """Where the identity contract keeps the use of a key."""
    return f"use/{public_key.hex()}"


def use_of(record: IdentityRecord) -> KeyUse:
    """What the keys of an identity are for."""
    return KeyUse.GOVERNANCE if roles.GOVERNOR in record.roles else KeyUse.SIGNING


def public_keys(record: IdentityRecord) -> list[bytes]:
    """All keys of an identity, revoked ones too."""
    return [key.public_key for key in record.keys.values()]


def other_use(state: UsesReader, public_key: bytes, wanted: KeyUse) -> KeyUse | None:
    """What the key is for already, where that is not `wanted`."""
    known = state.get(use_key(public_key))
    if known is None or known == wanted:
        return None
    return KeyUse(str(known))


def check_uses(state: UsesReader, keys: Iterable[bytes], wanted: KeyUse) -> None:
    """Refuse keys of which one is for something else (`KEY_OF_OTHER_USE`)."""
    for public_key in keys:
        known = other_use(state, public_key, wanted)
        if known is not None:
            raise Refusal(
                "KEY_OF_OTHER_USE", key=public_key.hex(), known=known.value, wanted=wanted.value
            )


def claim_uses(state: UsesWriter, keys: Iterable[bytes], wanted: KeyUse) -> None:
    """Keep what these keys are for from now on, or refuse as `check_uses` does."""
    for public_key in keys:
        check_uses(state, [public_key], wanted)
        if state.get(use_key(public_key)) is None:
            state.put(use_key(public_key), wanted.value)
