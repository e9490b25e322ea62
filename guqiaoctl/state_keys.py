"""Keys of a chain's state that people name and read: holdings in the register."""

from __future__ import annotations

from typing import Final

from guqiaoctl.output import choose
from services.consensus.domain.contracts.register.keys import key, unkey

_HOLDING: Final = "register/holding/"


def holding_key(product: str, account: str) -> str:
    """Where the register keeps what an account holds of a product, in all natures."""
    return f"{_HOLDING}{key(product, account)}"


def described(name: str) -> str:
    """What a person reads in place of a key; long names stand there by their digest."""
    product, _, account = name.removeprefix(_HOLDING).partition("/")
    if not name.startswith(_HOLDING) or not account:
        return choose(f"state of {name}", f"状态 {name}")
    holder, held = unkey(account)[0], unkey(product)[0]
    return choose(f"holding of {holder} in {held}", f"{holder} 持有 {held}")
