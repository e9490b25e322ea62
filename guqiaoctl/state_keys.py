"""Keys of a chain's state as people read them: holdings in the register."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.register_keys import unkey
from guqiaoctl.output import choose

_HOLDING: Final = "register/holding/"


def described(name: str) -> str:
    """What a person reads in place of a key; long names stand there by their digest."""
    product, _, account = name.removeprefix(_HOLDING).partition("/")
    if not name.startswith(_HOLDING) or not account:
        return choose(f"state of {name}", f"状态 {name}")
    holder, held = unkey(account)[0], unkey(product)[0]
    return choose(f"holding of {holder} in {held}", f"{holder} 持有 {held}")
