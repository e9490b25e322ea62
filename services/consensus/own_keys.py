"""A replica's own key files hold different keys: who takes one of them has nothing of another.

Vote, TLS and identity key each have a file. Copies under two names would pass every other check of
the start, and nobody else could see it: the TLS key is on no chain (design section 5).
"""

from __future__ import annotations

from pathlib import Path

from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from services.consensus.settings import Settings


class KeySharedError(GmError):
    """Two settings name one key."""

    code = "KEY_SHARED"

    def __init__(self, first: str, second: str) -> None:
        super().__init__(
            f"{first} and {second} hold the same key", f"{first} 与 {second} 为同一密钥"
        )


def check_own_keys(settings: Settings, tls_public_key: bytes, provider: GmProvider) -> None:
    """Raise `KeySharedError` where two of the settings that name key files hold one key, and
    `KeyFileError` where one cannot be used. `tls_public_key` is that of `gm.certificate`.
    """
    identity = settings.identity
    files: dict[str, Path | None] = {
        "vote_key_file": settings.vote_key_file,
        "next_vote_key_file": settings.next_vote_key_file,
        "identity.key_file": None if identity is None else identity.key_file,
    }
    named = {tls_public_key: "gm.key"}
    for name, file in files.items():
        if file is None:
            continue
        public_key = load_private_key(file, provider).public_key
        if public_key in named:
            raise KeySharedError(named[public_key], name)
        named[public_key] = name
