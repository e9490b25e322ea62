"""The verification code of a certificate: short enough to be read out, and safe from slips.

Twelve characters of Crockford's base 32 (60 bits of a digest) and two decimal check digits, in
groups: `XXXX-XXXX-XXXX-NN`. The check digits are the number's remainder by 97. One wrong character
and two that changed places, wherever they stand among the twelve, always change it.
"""

from __future__ import annotations

from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 12
MODULUS: Final = 97
_BITS: Final = 5
_GROUP: Final = 4
_READ_AS: Final = str.maketrans("OIL", "011", "- ")
"""What people take for one another; hyphens and spaces are only for the eye."""


def code_of(digest: bytes) -> str:
    """The code of a digest of 8 bytes or more."""
    number = int.from_bytes(digest[:8], "big") >> (64 - LENGTH * _BITS)
    characters = [
        ALPHABET[number >> (place * _BITS) & (len(ALPHABET) - 1)]
        for place in reversed(range(LENGTH))
    ]
    text = "".join(characters)
    groups = [text[at : at + _GROUP] for at in range(0, LENGTH, _GROUP)]
    return "-".join([*groups, f"{number % MODULUS:02}"])


def read_code(text: str) -> str | None:
    """The code as it is written, from what a person typed; None where that was mistyped."""
    typed = text.upper().translate(_READ_AS)
    code, check = typed[:LENGTH], typed[LENGTH:]
    if len(typed) != LENGTH + 2 or not set(code) <= set(ALPHABET):
        return None
    number = 0
    for character in code:
        number = number << _BITS | ALPHABET.index(character)
    if check != f"{number % MODULUS:02}":
        return None
    return code_of((number << (64 - LENGTH * _BITS)).to_bytes(8, "big"))
