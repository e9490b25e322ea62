"""Protocol buffers from strangers, read strictly: one reading for the bytes, or a refusal.

The library takes the last of two values for one field, merges messages that come twice and keeps
fields that it does not know. What was signed, counted or judged must not depend on such habits
(docs/adr/0029-protocol-buffers-are-read-strictly.md), so a message is written again and compared;
only where the bytes differ are its fields walked, for another order of them is legal.

An empty field takes two bytes of a message and up to a hundred of memory, so fields are counted on
the wire, at all depths, before the library builds anything of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

FIELDS_WALKED_MAX: Final = 10_000
"""In a message that is written in another way than ours: nobody has to, so nobody needs more."""

FIELDS_BASE: Final = 1_000
BYTES_A_FIELD: Final = 16
FIELDS_MAX: Final = 40_000
"""From its beginning up to any place, a message has at most the base and one field for so many
bytes, and never more than the last: what is built of it then takes a few times its size. The
densest honest ones have 30 bytes a field (transactions of one envelope: siblings, signatures), the
longest 20,000 fields (the largest request of a client, an answer of 4 MiB of blocks). Packed
numbers count as one field, for they take at most eight times their bytes.
"""

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5
_TAG_BYTES_MAX: Final = 5
_VARINT_BYTES_MAX: Final = 10

_WIRE_TYPES: Final = {
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
    FieldDescriptor.TYPE_FIXED64: FIXED64,
    FieldDescriptor.TYPE_SFIXED64: FIXED64,
    FieldDescriptor.TYPE_FLOAT: FIXED32,
    FieldDescriptor.TYPE_FIXED32: FIXED32,
    FieldDescriptor.TYPE_SFIXED32: FIXED32,
    FieldDescriptor.TYPE_STRING: LENGTH_DELIMITED,
    FieldDescriptor.TYPE_BYTES: LENGTH_DELIMITED,
    FieldDescriptor.TYPE_MESSAGE: LENGTH_DELIMITED,
}
"""Of the other types, all integers, booleans and enums: `VARINT`."""

M = TypeVar("M", bound=Message)


class NotStrictError(ValueError):
    """Bytes that are no message of this type, or have more than one reading."""


def parse_strict(kind: type[M], data: bytes) -> M:
    """The message of type `kind` that `data` holds; raises `NotStrictError`."""
    check_fields(cast(Descriptor, kind.DESCRIPTOR), data)
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        raise NotStrictError(f"no {kind.DESCRIPTOR.name}") from error
    check_strict(message, data)
    return message


def check_strict(message: Message, data: bytes) -> None:
    """Raise `NotStrictError` unless `data`, from which `message` was parsed, gives each field once
    and no other fields. Unknown ones are taken out of `message`.
    """
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != data:
        _Walk(data).message(cast(Descriptor, message.DESCRIPTOR), 0, len(data))


def check_fields(kind: Descriptor, data: bytes) -> None:
    """Raise `NotStrictError` where the bytes of a message have more fields than an honest one, at
    all depths; to be asked before the library reads them. It reads no further than that.
    """
    if len(data) <= 2 * FIELDS_BASE:  # A field has two bytes at least.
        return
    outer: list[tuple[Mapping[int, Descriptor], int]] = []
    at, end, nested = 0, len(data), _nested(kind)
    fields, fields_max = 0, FIELDS_BASE
    while True:
        while at == end:
            if not outer:
                return
            nested, end = outer.pop()
        fields += 1
        if fields > fields_max:
            fields_max = min(FIELDS_BASE + at // BYTES_A_FIELD, FIELDS_MAX)
            if fields > fields_max:
                raise NotStrictError(f"{fields} fields in {at} bytes of {kind.name}")
        tag, at = _varint(data, at, end, _TAG_BYTES_MAX)
        if tag in nested:
            size, at = _varint(data, at, end, _VARINT_BYTES_MAX)
            outer.append((nested, end))
            end, nested = _within(at + size, end), _nested(nested[tag])
        else:
            at = _beyond(data, tag & 7, at, end)


@cache
def _nested(kind: Descriptor) -> Mapping[int, Descriptor]:
    """The messages within a message, by the tag before them."""
    return {
        field.number << 3 | LENGTH_DELIMITED: field.message_type
        for field in kind.fields
        if field.message_type is not None
    }


def _beyond(data: bytes, wire_type: int, at: int, end: int) -> int:
    """Where the value at `at` ends."""
    if wire_type == LENGTH_DELIMITED:
        size, at = _varint(data, at, end, _VARINT_BYTES_MAX)
        return _within(at + size, end)
    if wire_type == VARINT:
        return _varint(data, at, end, _VARINT_BYTES_MAX)[1]
    if wire_type not in (FIXED64, FIXED32):
        raise NotStrictError(f"wire type {wire_type}")
    return _within(at + (8 if wire_type == FIXED64 else 4), end)


class _Walk:
    """One walk over the fields of bytes that the library could parse, so their nesting is bounded;
    groups are unknown fields here.
    """

    __slots__ = ("_data", "_fields")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fields = 0

    def message(self, kind: Descriptor, at: int, end: int) -> None:
        """The message from `at` up to `end`."""
        seen: set[str] = set()
        while at < end:
            self._fields += 1
            if self._fields > FIELDS_WALKED_MAX:
                raise NotStrictError(f"more than {FIELDS_WALKED_MAX} fields, not as we write them")
            tag, at = _varint(self._data, at, end, _TAG_BYTES_MAX)
            number, wire_type = tag >> 3, tag & 7
            field = kind.fields_by_number.get(number)
            if field is None:
                raise NotStrictError(f"the unknown field {number} in {kind.name}")
            if wire_type not in _wire_types(field):
                raise NotStrictError(f"wire type {wire_type} for {kind.name}.{field.name}")
            if not field.is_repeated:
                name = field.name if field.containing_oneof is None else field.containing_oneof.name
                if name in seen:
                    raise NotStrictError(f"{kind.name}.{name} is given twice")
                seen.add(name)
            at = self._value(field, wire_type, at, end)

    def _value(self, field: FieldDescriptor, wire_type: int, at: int, end: int) -> int:
        """Step over a value; into it, where it is a message."""
        if wire_type != LENGTH_DELIMITED:
            return _beyond(self._data, wire_type, at, end)
        size, at = _varint(self._data, at, end, _VARINT_BYTES_MAX)
        beyond = _within(at + size, end)
        if field.message_type is not None:
            self.message(field.message_type, at, beyond)
        return beyond


def _varint(data: bytes, at: int, end: int, bytes_max: int) -> tuple[int, int]:
    """The integer at `at`, and where it ends."""
    if at < end and data[at] < 128:
        return data[at], at + 1
    value = 0
    for index in range(bytes_max):
        byte = data[_within(at + index + 1, end) - 1]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise NotStrictError("an integer that does not end")


def _within(beyond: int, end: int) -> int:
    if beyond > end:
        raise NotStrictError("a field that does not end")
    return beyond


def _wire_types(field: FieldDescriptor) -> Sequence[int]:
    """How a value of the field may be written: numbers of a repeated field also packed."""
    own = _WIRE_TYPES.get(field.type, VARINT)
    return (own, LENGTH_DELIMITED) if field.is_repeated else (own,)
