"""What a store of objects must do: keep bytes under a reference, give them back, remove them.

Stores see ciphertext only. References are opaque and drawn at random, so that none tells anything
and none is a path.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final, Protocol

from guqiao_sdk.object_store.errors import (
    BodyExistsError,
    BodyUnknownError,
    ReferenceInvalidError,
)

OBJECT_BYTES_MAX: Final = 64 * 1024 * 1024 + 1_024
"""What is kept under one reference: a body of 64 MiB with what encryption adds."""

_REFERENCE: Final = re.compile(r"[0-9a-f]{32}")
_REFERENCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a store tells of an object without giving it."""

    size: int


class ObjectStore(Protocol):
    """Every method raises `ReferenceInvalidError` for what is no reference, and
    `StoreUnavailableError` where the store cannot be used.
    """

    async def put(self, reference: str, content: bytes) -> None:
        """Keep an object durably and whole, or raise `StoreFullError` or `BodyExistsError`."""
        ...

    async def get(self, reference: str) -> bytes:
        """Return an object, or raise `BodyUnknownError`. More than `OBJECT_BYTES_MAX` bytes are
        never read: of a longer one the first so many come, and one more.
        """
        ...

    async def delete(self, reference: str) -> None:
        """Remove an object durably; no effect where there is none."""
        ...

    async def stat(self, reference: str) -> ObjectFacts | None:
        """Return what is known of an object, or None where there is none."""
        ...


def new_reference() -> str:
    """Draw a reference: 32 lower-case hex digits."""
    return secrets.token_hex(_REFERENCE_BYTES)


def is_reference(text: str) -> bool:
    """Whether a text is a reference."""
    return _REFERENCE.fullmatch(text) is not None


def check_reference(reference: str) -> str:
    """Return the reference, or raise `ReferenceInvalidError`."""
    if not is_reference(reference):
        raise ReferenceInvalidError(
            "a reference of a body is 32 lower-case hexadecimal digits",
            "正文引用应为 32 位小写十六进制数字",
        )
    return reference


def unknown(reference: str) -> BodyUnknownError:
    """What is raised where nothing is kept under a reference."""
    return BodyUnknownError(
        f"nothing is kept under the reference {reference}", f"引用 {reference} 下没有内容"
    )


def exists(reference: str) -> BodyExistsError:
    """What is raised where something is kept there already."""
    return BodyExistsError(
        f"something is kept under the reference {reference} already", f"引用 {reference} 已被使用"
    )
