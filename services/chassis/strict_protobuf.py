"""Protocol buffers from strangers, read strictly: one reading for the bytes, or a refusal.

The library takes the last of two values for one field, merges messages that come twice and keeps
fields that it does not know. What was signed, counted or judged must not depend on such habits
(docs/adr/0029-protocol-buffers-are-read-strictly.md), so a message is written again and compared;
only where the bytes differ are its fields walked, for another order of them is legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

FIELDS_WALKED_MAX: Final = 10_000
"""In a message that is written in another way than ours: nobody has to, so nobody needs more."""

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
            tag, at = self._varint(at, end, _TAG_BYTES_MAX)
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
        if wire_type == VARINT:
            return self._varint(at, end, _VARINT_BYTES_MAX)[1]
        if wire_type != LENGTH_DELIMITED:
            return self._within(at + (8 if wire_type == FIXED64 else 4), end)
        size, at = self._varint(at, end, _VARINT_BYTES_MAX)
        beyond = self._within(at + size, end)
        if field.message_type is not None:
            self.message(field.message_type, at, beyond)
        return beyond

    def _varint(self, at: int, end: int, bytes_max: int) -> tuple[int, int]:
        value = 0
        for index in range(bytes_max):
            byte = self._data[self._within(at + index + 1, end) - 1]
            value |= (byte & 127) << 7 * index
            if byte < 128:
                return value, at + index + 1
        raise NotStrictError("an integer that does not end")

    @staticmethod
    def _within(beyond: int, end: int) -> int:
        if beyond > end:
            raise NotStrictError("a field that does not end")
        return beyond


def _wire_types(field: FieldDescriptor) -> Sequence[int]:
    """How a value of the field may be written: numbers of a repeated field also packed."""
    own = _WIRE_TYPES.get(field.type, VARINT)
    return (own, LENGTH_DELIMITED) if field.is_repeated else (own,)
