"""Page tokens: the height that all pages of a list show, and the key after which the next begins.

A token is the service's own text to the caller, and the caller's to the service: it is read as
anything else that comes from outside.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast

from guqiao_sdk.proof.canonical import digest
from services.registry.domain.errors import PageTokenInvalidError

TOKEN_LENGTH_MAX: Final = 2 * 1024 * 1024
"""It names the last row of a page, whose names may be as long as a transaction allows."""

NUMBER_BOUND: Final = 2**63
"""What the database counts to."""

Key = TypeVar("Key", bound=tuple[str | int, ...])


def write_page_token(height: int, product_code: str, key: Sequence[str | int]) -> str:
    """Return the token of the page after `key` of a list of this product (empty: of all)."""
    content = json.dumps([height, _filter_of(product_code), *key], ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(content).decode()


def read_page_token(token: str, product_code: str, first: Key) -> tuple[int, Key]:
    """Return height and key of a token of the same list; `first`, before all keys, has their form.

    Raises PageTokenInvalidError.
    """
    if len(token) > TOKEN_LENGTH_MAX:
        raise PageTokenInvalidError
    try:
        content = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, RecursionError) as error:
        raise PageTokenInvalidError from error
    match content:
        case [height, code, *key] if type(height) is int and height >= 1:
            is_same = code == _filter_of(product_code) and len(key) == len(first)
            if is_same and all(map(_is_like, key, first)):
                return height, cast("Key", tuple(key))
    raise PageTokenInvalidError


def _filter_of(product_code: str) -> str:
    """What the pages are of, in few characters."""
    if not product_code:
        return ""
    return digest("guqiao/roster-filter/1", product_code.encode()).hex()


def _is_like(part: Any, first: str | int) -> bool:
    """Whether the database can compare with it: no NUL, no lone surrogate, no endless number."""
    if type(part) is not type(first):
        return False
    if isinstance(part, str):
        return "\x00" not in part and not any("\ud800" <= letter <= "\udfff" for letter in part)
    return bool(0 <= part < NUMBER_BOUND)
