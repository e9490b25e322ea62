"""Changes of good samples that decoders survive: of bytes, fields, wire formats, JSON and DER.

Each takes a random source and gives new bytes. A change of a field's size is followed by its
enclosing lengths, so that it gets past the outer layers and meets the inner ones.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final

from tests.fuzz.shape import LENGTH_BYTES, Field, Kind, Shape

WireField = tuple[int, int, bytes]
"""Number, wire type and content of a field of a protocol buffer."""

Mutation = Callable[[Random, bytes, Sequence[Shape]], bytes]

LENGTH_DELIMITED: Final = 2
DEEP: Final = 20_000
TIMES: Final = (1, 1, 1, 2, 3, 40, 300, 5_000)
"""How often an element comes again. Seldom so often that a bound is what refuses it: each such
input costs as much as hundreds of others.
"""
HUGE: Final = (0, 1, 2, 127, 128, 255, 256, 2**16, 2**24, 2**31, 2**32 - 1, 2**53, 2**63, 2**64 - 1)


# --- Any bytes --------------------------------------------------------------------------------


def of_bytes(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """One to four changes that know nothing of the format."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1 if at < len(changed):
                changed[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
            case 2:
                del changed[at : at + random.choice([1, 4, 8, 32, 64])]
            case 3:
                changed[at:at] = random.randbytes(random.choice([1, 4, 8, 32]))
            case 4:
                del changed[at:]
            case _:
                other = random.choice(others).data
                changed[at:] = other[random.randrange(len(other) + 1) :]
    return bytes(changed)


# --- Canonical fields -------------------------------------------------------------------------


def of_fields(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """One to three changes of fields, where the sample is canonical; else of bytes."""
    shapes = [each for each in others if each.data == data and each.fields]
    if not shapes:
        return of_bytes(random, data, others)
    shape = shapes[0]
    changed: bytes = random.choice(_FIELD_CHANGES)(random, shape, others)
    return of_bytes(random, changed, others) if random.random() < 0.1 else changed


def _integer(random: Random, shape: Shape, others: Sequence[Shape]) -> bytes:
    field = random.choice([each for each in shape.fields if each.kind is not Kind.RAW])
    size = field.end - field.start
    value = int.from_bytes(shape.data[field.start : field.end], "big")
    near = [value - 1, value + 1, value * 2, ~value]
    chosen = random.choice([*near, *HUGE]) % (1 << 8 * size)
    return _replaced(shape, field.start, field.end, chosen.to_bytes(size, "big"), keep_size=True)


def _swap(random: Random, shape: Shape, others: Sequence[Shape]) -> bytes:
    """Two fields of one size change places."""
    field = random.choice(shape.fields)
    size = field.end - field.start
    alike = [each for each in shape.fields if each.end - each.start == size]
    other = random.choice(alike)
    data = bytearray(shape.data)
    data[field.start : field.end] = shape.data[other.start : other.end]
    data[other.start : other.end] = shape.data[field.start : field.end]
    return bytes(data)


def _repeat(random: Random, shape: Shape, others: Sequence[Shape]) -> bytes:
    """A run of fields comes once more, or not at all, and the integer before it counts so."""
    first = random.randrange(len(shape.fields))
    last = min(first + random.randint(1, 6), len(shape.fields)) - 1
    start, end = shape.fields[first].start, _end(shape.fields[last])
    again = random.random() < 0.6
    run = shape.data[start:end]
    changed = _replaced(shape, start, end, run * random.choice([2, 2, 3, 40]) if again else b"")
    before = shape.fields[first - 1]
    if first and before.kind is Kind.INTEGER and before.end == start:
        size = before.end - before.start
        value = int.from_bytes(shape.data[before.start : before.end], "big")
        counted = (value + (1 if again else -1)) % (1 << 8 * size)
        return changed[: before.start] + counted.to_bytes(size, "big") + changed[before.end :]
    return changed


def _resize(random: Random, shape: Shape, others: Sequence[Shape]) -> bytes:
    """A byte string becomes longer, shorter, empty or noise."""
    lengths = shape.lengths()
    if not lengths:
        return _cut(random, shape, others)
    field = random.choice(lengths)
    content = shape.data[field.end : field.content_end]
    at = random.randrange(len(content) + 1)
    noise = random.randbytes(random.choice([1, 31, 33, 65]))
    new = random.choice([b"", content[:at], content + noise, content[at:], noise, content * 2])
    return _replaced(shape, field.end, field.content_end, new)


def _graft(random: Random, shape: Shape, others: Sequence[Shape]) -> bytes:
    """The content of one byte string in the place of another, or a whole sample in it."""
    other = random.choice(others)
    sources = [other.data[each.end : each.content_end] for each in other.lengths()]
    targets = shape.lengths()
    if not targets:
        return _cut(random, shape, others)
    field = random.choice(targets)
    return _replaced(shape, field.end, field.content_end, random.choice([*sources, other.data]))


def _cut(random: Random, shape: Shape, others: Sequence[Shape]) -> bytes:
    """The sample ends at a field's border, or goes on with another's fields."""
    end = random.choice(shape.fields).start
    other = random.choice(others)
    if other.fields and random.random() < 0.5:
        return shape.data[:end] + other.data[random.choice(other.fields).start :]
    return shape.data[:end]


_FIELD_CHANGES: Final[tuple[Callable[[Random, Shape, Sequence[Shape]], bytes], ...]] = (
    _integer,
    _integer,
    _swap,
    _repeat,
    _resize,
    _graft,
    _cut,
)


def _end(field: Field) -> int:
    return field.content_end if field.kind is Kind.LENGTH else field.end


def _replaced(shape: Shape, start: int, end: int, new: bytes, *, keep_size: bool = False) -> bytes:
    data = bytearray(shape.data)
    data[start:end] = new
    growth = len(new) - (end - start)
    if growth and not keep_size:
        for field in shape.lengths():
            if field.end <= start and end <= field.content_end:
                length = field.content_end - field.end + growth
                data[field.start : field.end] = (length % 2**32).to_bytes(LENGTH_BYTES, "big")
    return bytes(data)


# --- Protocol buffers -------------------------------------------------------------------------


SWOLLEN: Final = 500_000
"""Fields of two bytes each: what a library builds of one may have a hundred."""


def of_wire(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """Changes that keep to the tags and lengths of protocol buffers, or abuse them."""
    fields = wire_fields(data)
    if not fields or random.random() < 0.2:
        return of_bytes(random, data, others)
    at = random.randrange(len(fields))
    number, wire_type, content = fields[at]
    if wire_type == LENGTH_DELIMITED and random.random() < 0.4:
        inner = random.choice([of_wire, of_bytes])(random, content, others)
        return _wire([*fields[:at], (number, wire_type, inner), *fields[at + 1 :]])
    return random.choice(_WIRE_CHANGES)(random, fields, at)


def _repeated(random: Random, fields: list[WireField], at: int) -> bytes:
    return _wire([*fields, *[fields[at]] * random.choice([1, 1, 500])])


def _lost(random: Random, fields: list[WireField], at: int) -> bytes:
    return _wire([*fields[:at], *fields[at + 1 :]])


def _renumbered(random: Random, fields: list[WireField], at: int) -> bytes:
    number, wire_type, content = fields[at]
    changed = random.choice([0, 1, number + 1, 2**29 - 1])
    return _wire([*fields[:at], (changed, wire_type, content), *fields[at + 1 :]])


def _of_another_type(random: Random, fields: list[WireField], at: int) -> bytes:
    number, _, content = fields[at]
    return _wire([*fields[:at], (number, random.randrange(8), content), *fields[at + 1 :]])


def _of_two_gigabytes(random: Random, fields: list[WireField], at: int) -> bytes:
    return _wire([*fields[:at]]) + b"\x0a\x80\x80\x80\x80\x08"


def _groups_in_groups(random: Random, fields: list[WireField], at: int) -> bytes:
    return _wire(fields) + b"\x0b" * DEEP


def _messages_in_messages(random: Random, fields: list[WireField], at: int) -> bytes:
    number, _, nested = fields[at]
    for _ in range(200):
        nested = b"\x0a" + _varint(len(nested)) + nested
    return _wire([*fields[:at], (number, LENGTH_DELIMITED, nested), *fields[at + 1 :]])


def _overlong_integer(random: Random, fields: list[WireField], at: int) -> bytes:
    number = fields[at][0]
    content = b"\xff" * random.choice([8, 9, 10, 11]) + b"\x01"
    return _wire([*fields[:at], (number, 0, content), *fields[at + 1 :]])


_WIRE_CHANGES: Final = (
    _repeated,
    _lost,
    _renumbered,
    _of_another_type,
    _of_two_gigabytes,
    _groups_in_groups,
    _messages_in_messages,
    _overlong_integer,
)


def swollen(data: bytes) -> Iterator[bytes]:
    """The message with each of its fields, at all depths, very many times without content."""
    fields = wire_fields(data)
    for at, (number, wire_type, content) in enumerate(fields):
        yield data + (_varint(number << 3 | LENGTH_DELIMITED) + bytes(1)) * SWOLLEN
        if wire_type == LENGTH_DELIMITED:
            for inner in swollen(content):
                yield _wire([*fields[:at], (number, wire_type, inner), *fields[at + 1 :]])


def wire_fields(data: bytes) -> list[WireField]:
    """Tag number, wire type and content of each field; empty where it is no such message."""
    fields: list[WireField] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        begin = at
        if wire_type == LENGTH_DELIMITED:
            length, begin = _read_varint(data, at)
            at = begin + length
        elif wire_type == 0:
            _, at = _read_varint(data, at)
        else:
            at += {1: 8, 5: 4}.get(wire_type, len(data) + 1)
        if number == 0 or at > len(data):
            return []
        fields.append((number, wire_type, data[begin:at]))
    return fields


def _wire(fields: Sequence[WireField]) -> bytes:
    parts = []
    for number, wire_type, content in fields:
        length = _varint(len(content)) if wire_type == LENGTH_DELIMITED else b""
        parts.append(_varint(number << 3 | wire_type) + length + content)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7
    return 0, len(data) + 1


# --- JSON -------------------------------------------------------------------------------------

_ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1.5, 2**53, 2**64, 10**40, "", "0", "\x00", "é" * 300, [], {}, [[]], {"": 0},
)  # fmt: skip
_SPELLINGS: Final = (
    b"NaN", b"1e400", b"-0", b"01", b'"\\ud800"', b'"\xff"', b"1" * 5_000, b'{"a":1,"a":2}',
    b"[" * DEEP, b'{"a":' * DEEP, b"/**/0", b"'0'", b"\xef\xbb\xbf0", b"0 0", b'"' + b"\\u0041" * 9,
)  # fmt: skip


def of_json(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """Another value in some place, another spelling of it, or members lost, renamed and added."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return of_bytes(random, data, others)
    if random.random() < 0.2:
        return of_bytes(random, data, others)
    marked = random.random() < 0.3
    changed = _changed(random, value, "\x01here\x01" if marked else random.choice(_ODD))
    spelled = json.dumps(changed, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    text = spelled.encode(errors="surrogatepass")
    if marked:
        return text.replace(b'"\\u0001here\\u0001"', random.choice(_SPELLINGS), 1)
    return text if random.random() < 0.9 else text.replace(b",", b", ", 1)


def _changed(random: Random, value: Any, new: Any) -> Any:
    """The value with one place replaced, or one member lost, renamed or added."""
    if isinstance(value, dict) and value:
        key = random.choice(sorted(value))
        match random.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, f"{key}x": value[key]}
            case 2:
                return {(f"{k}x" if k == key else k): v for k, v in value.items()}
            case _:
                return {**value, key: _changed(random, value[key], new)}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        if random.random() < 0.2:
            return value + [value[at]] * random.choice(TIMES)
        return [*value[:at], _changed(random, value[at], new), *value[at + 1 :]]
    return new


# --- Certificates and keys --------------------------------------------------------------------


def of_pem(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """A change of one DER value within the armour; now and then of the armour."""
    try:
        head, body, tail = _armour(data)
        der = base64.b64decode(body, validate=True)
    except ValueError:
        return of_bytes(random, data, others)
    if random.random() < 0.1:
        return of_bytes(random, data, others)
    changed = of_der(random, der, others)
    lines = base64.b64encode(changed)
    return head + b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64)) + tail


def _armour(data: bytes) -> tuple[bytes, bytes, bytes]:
    head, found, rest = data.partition(b"-----\n")
    body, also, tail = rest.partition(b"\n-----")
    if not found or not also:
        raise ValueError("no armour")
    return head + found, body.replace(b"\n", b""), also + tail


def of_der(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """Another content, tag or number of times of one value; lengths around it follow."""
    parts = _der_parts(data)
    if not parts:
        return of_bytes(random, data, others)
    at = random.randrange(len(parts))
    tag, content = parts[at]
    if _der_parts(content) and tag & 0x20 and random.random() < 0.85:
        parts[at] = tag, of_der(random, content, others)
        return _der(parts)
    match random.randrange(6):
        case 0:
            parts[at] = random.choice([tag ^ 0x20, 0, 2, 3, 5, 6, 12, 23, 24, 0x30, 0xA3]), content
        case 1:
            parts[at:at] = [parts[at]] * random.choice([1, 1, 300])
        case 2:
            del parts[at]
        case 3:
            other = random.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case 4:
            parts[at] = tag, random.choice([b"", bytes(1), b"\xff" * 40, b"\x80", content * 2])
        case _:
            parts[at] = tag, of_bytes(random, content, others)
    return _der(parts)


def _der_parts(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each value; empty where these are none."""
    parts: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        length, begin = (data[at + 1], at + 2) if at + 1 < len(data) else (0, len(data) + 1)
        if length > 0x80:
            begin += length - 0x80
            length = int.from_bytes(data[at + 2 : begin], "big")
        if begin + length > len(data):
            return []
        parts.append((data[at], data[begin : begin + length]))
        at = begin + length
    return parts


def _der(parts: Sequence[tuple[int, bytes]]) -> bytes:
    written = []
    for tag, content in parts:
        size = len(content)
        octets = size.to_bytes(max(1, (size.bit_length() + 7) // 8), "big")
        length = octets if size < 0x80 else bytes([0x80 | len(octets)]) + octets
        written.append(bytes([tag]) + length + content)
    return b"".join(written)
