"""A data object that is too large for one packet travels in parts, and is put together again.

Every part is a data object of its own: the whole body with a slice of each array, so that it can be
read alone. `header.metadata.part` names the first object, the part's number, how many there are and
the digest of the whole body; a small object has no such member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, digest
from guqiao_sdk.proof.json_values import Json, canonical_json

PARTS_MAX: Final = 256
"""Parts of one object: as many packets as one transaction may send."""

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What `header.metadata.part` says. `number` counts from 1; part 1 is the object `of`."""

    of: str
    number: int
    count: int
    body_digest: str

    def to_json(self) -> dict[str, Json]:
        """Write the member."""
        return {
            "of": self.of,
            "number": self.number,
            "count": self.count,
            "body_digest": self.body_digest,
        }


def body_digest(body: Mapping[str, Json]) -> str:
    """Return the digest of a whole body, in hex."""
    return digest("guqiao/data-object-body/1", canonical_json(dict(body))).hex()


def split_body(body: Mapping[str, Json], *, bytes_max: int) -> list[dict[str, Json]]:
    """Return the bodies of the parts, in order; of one part where the body fits.

    What is no element of an array stands in each part. An element that does not fit beside it
    makes a part that is too large, for whoever sends it to refuse.
    """
    frame = _sliced(body, (), {})
    left = bytes_max - len(canonical_json(frame))
    slices: list[dict[_Path, list[Json]]] = [{}]
    room = left
    for path, element in _elements(body, ()):
        size = len(canonical_json(element)) + 1
        if size > room and slices[-1]:
            slices.append({})
            room = left
        slices[-1].setdefault(path, []).append(element)
        room -= size
    return [_sliced(body, (), elements) for elements in slices]


def part_of(value: Json) -> Part | None:
    """Return what a data object says of being a part; None for one that is whole.

    Raises `MalformedError`.
    """
    metadata = _member(_member(value, "header"), "metadata")
    if "part" not in metadata:
        return None
    match metadata["part"]:
        case {
            "of": str(of),
            "number": int(number),
            "count": int(count),
            "body_digest": str(hashed),
        } if 1 <= number <= count <= PARTS_MAX:
            return Part(of, number, count, hashed)
    raise MalformedError("header.metadata.part is not that of a part")


def join_parts(objects: Sequence[Json]) -> dict[str, Json]:
    """Return the whole body of the data object whose parts these are, in any order.

    Raises `MalformedError` where a part is missing, foreign or changed.
    """
    if not objects:
        raise MalformedError("no part of an object")
    parts = [part_of(value) for value in objects]
    first = parts[0]
    if first is None:
        if len(objects) > 1:
            raise MalformedError("an object that is whole, and others beside it")
        return _member(objects[0], "body")
    by_number: dict[int, dict[str, Json]] = {}
    for part, value in zip(parts, objects, strict=True):
        if part is None or (part.of, part.count, part.body_digest) != (
            first.of,
            first.count,
            first.body_digest,
        ):
            raise MalformedError(f"a part of another object beside those of {first.of}")
        by_number[part.number] = _member(value, "body")
    if len(by_number) != first.count or len(objects) != first.count:
        raise MalformedError(f"{len(by_number)} of {first.count} parts of {first.of}")
    return _joined([by_number[number] for number in sorted(by_number)], first)


def _joined(bodies: Sequence[dict[str, Json]], part: Part) -> dict[str, Json]:
    elements: dict[_Path, list[Json]] = {}
    for body in bodies:
        for path, element in _elements(body, ()):
            elements.setdefault(path, []).append(element)
    whole = _sliced(bodies[0], (), elements)
    if body_digest(whole) != part.body_digest:
        raise MalformedError(f"the parts of {part.of} do not give the body that was sent")
    return whole


def _elements(body: Mapping[str, Json], path: _Path) -> Iterator[tuple[_Path, Json]]:
    """Yield the elements of the arrays outside of arrays, array by array in order of their path."""
    for name in sorted(body):
        value, place = body[name], (*path, name)
        if isinstance(value, dict):
            yield from _elements(value, place)
        elif isinstance(value, list):
            for element in value:
                yield place, element


def _sliced(
    body: Mapping[str, Json], path: _Path, elements: Mapping[_Path, list[Json]]
) -> dict[str, Json]:
    """Return the body with these elements in its arrays and no others."""
    sliced: dict[str, Json] = {}
    for name, value in body.items():
        place = (*path, name)
        if isinstance(value, dict):
            sliced[name] = _sliced(value, place, elements)
        elif isinstance(value, list):
            sliced[name] = [*elements.get(place, ())]
        else:
            sliced[name] = value
    return sliced


def _member(value: Json, name: str) -> dict[str, Json]:
    member = value.get(name) if isinstance(value, dict) else None
    if not isinstance(member, dict):
        raise MalformedError(f"no data object: {name} is no object")
    return member
