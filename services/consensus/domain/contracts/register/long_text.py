"""Texts of any length where there is room for a bounded one: in a key, in a data object.

A reference may be as long as a call of star/1 allows. Where it cannot stand whole its digest stands
for it, which names it just as well: whoever has the text can tell that it is the one.
"""

from __future__ import annotations

from guqiao_sdk.gm.sm3 import sm3


def digest_of(text: str) -> str:
    """Return what stands for a long text: SM3 of its UTF-8, 64 hexadecimal digits."""
    return sm3(text.encode()).hex()
