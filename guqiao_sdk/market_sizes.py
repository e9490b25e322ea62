"""How large a row of a market dataset may be: a transaction has to hold it.

What none holds is found while the dataset is read, with the field that takes the room, before
anything of it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk.market_shapes import ShapeError
from guqiao_sdk.proof.transaction import BODY_BYTES_MAX

CALL_BYTES_MAX: Final = 256
"""What the call of a row of a CSV file says besides its fields."""


def check_size(row: Mapping[str, Any], *, beside: int = 0) -> None:
    """Refuse a row that no transaction holds together with the bytes `beside` it."""
    size, held = size_of(row), BODY_BYTES_MAX - beside
    if size > held:
        raise ShapeError(
            _longest(row), f"too long: the row takes {size} bytes, a transaction holds {held}"
        )


def size_of(value: Any) -> int:
    """Bytes of a value as a transaction writes it."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _longest(row: Mapping[str, Any]) -> str:
    """The member that takes most room, or the one part in it that takes more than half of all."""
    half = size_of(row) // 2
    place = ""
    value: Any = row
    while isinstance(value, dict | list):
        name, part = max(_parts(value), key=lambda named: size_of(named[1]), default=("", None))
        if place and size_of(part) <= half:
            break
        place, value = place + name, part
    return place


def _parts(value: dict[str, Any] | list[Any]) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f".{name}", part) for name, part in value.items()]
    return [(f"[{index}]", part) for index, part in enumerate(value)]
