"""Damage that is damage: other bytes for certain, whatever the bytes were."""

from __future__ import annotations


def flipped(data: bytes, place: int = -1) -> bytes:
    """The same with one bit changed in the byte at `place`, the last where none is named."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)
