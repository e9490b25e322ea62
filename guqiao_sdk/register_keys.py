"""The keys of the register's records, for readers in Python; `2_operation.star` makes them.

A key is made of parts that may hold any text: `/` and `%` are escaped inside a part, and the digest
of a text that is long or not plain stands for it. Holdings lie by product and then account, which
is the order of rosters and payable lists.
"""

from __future__ import annotations

from typing import Final

from guqiao_sdk.gm.sm3 import sm3

PART_LENGTH_MAX: Final = 96
"""A key has at most three parts of texts, of which the account's has at most 32 characters: fewer
than the 256 of a key of star/1."""

_DIGEST_MARK: Final = "%sm3:"
"""No escaped text has it: in those `%` is followed by 25 or 2F."""


def key(*parts: str) -> str:
    """Join the parts of a key, so that different parts never give the same key."""
    return "/".join(map(part_of_key, parts))


def part_of_key(text: str) -> str:
    """Return what stands in a key for a text; different for different texts."""
    escaped = text.replace("%", "%25").replace("/", "%2F")
    if len(escaped) <= PART_LENGTH_MAX and all("!" <= character <= "~" for character in escaped):
        return escaped
    return _DIGEST_MARK + sm3(text.encode()).hex()


def unkey(joined: str) -> tuple[str, ...]:
    """Return the parts of a key; of one that is long or not plain, only what stands for it."""
    return tuple(part.replace("%2F", "/").replace("%25", "%") for part in joined.split("/"))
