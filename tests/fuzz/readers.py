"""What targets share: how their bytes become what a decoder takes, and errors it may raise."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json, parse_json_strict

MALFORMED: Final = (MalformedError,)
JSON_BYTES_MAX: Final = 200_000
Read = TypeVar("Read")


def any_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """So that what stands behind a signature is reached."""
    return True


def json_value(data: bytes) -> Any:
    """The JSON value of a body, as admission reads it; raises `JsonError`."""
    return parse_json_strict(data, depth_max=16, size_max=JSON_BYTES_MAX)


def json_object(data: bytes) -> Mapping[str, Json]:
    """The same where contracts only see objects."""
    value = json_value(data)
    return value if isinstance(value, dict) else {"value": value}


def of_file(load: Callable[[Path], Read]) -> Callable[[bytes], Read]:
    """A decoder of files as one of bytes."""

    def decode(data: bytes) -> Read:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            path = Path(folder, "file")
            path.write_bytes(data)
            path.chmod(0o600)
            return load(path)

    return decode


def or_malformed(decode: Callable[[bytes], Read | None]) -> Callable[[bytes], Read]:
    """A decoder that says None of what is damaged as one that refuses."""

    def refusing(data: bytes) -> Read:
        value = decode(data)
        if value is None:
            raise MalformedError("damaged")
        return value

    return refusing


def spelled_anew(data: bytes, spell: Callable[[Any], bytes]) -> bytes:
    """The JSON value as its writer would spell it, with the right checksum: so that a changed one
    gets past it. What is no such value stays as it is.
    """
    try:
        return spell(json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return data
