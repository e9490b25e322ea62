"""What damage is: which files a data folder has, and how the bytes of each can be changed.

Only what is changed counts. A file that is written once has no older state, an empty one no byte;
an older state of a segment is the same segment without its last records.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Final

from services.consensus.store.segment import Position, Record, parse_record
from tests.integration.ledger.store_builder import salt_of, segment_files

PAGE_BYTES: Final = 4_096

HOW: Final = ("flip", "zero", "truncate", "stale", "remove")
FILES: Final = (
    "segments/first",
    "segments/middle",
    "segments/last",
    "index/data.mdb",
    "index/lock.mdb",
    "promise.1.json",
    "promise.2.json",
    "identity.json",
    "identity.copy.json",
    "session",
    "lock",
    "nonces",
    "nonces.lock",
    "evidence/first",
    "restarts/first",
    "divergence.json",
)
WRITTEN_ONCE: Final = frozenset(
    {"identity.json", "identity.copy.json", "evidence/first", "restarts/first", "divergence.json"}
)
EMPTY: Final = frozenset({"lock", "nonces.lock"})


def is_change(name: str, how: str) -> bool:
    """Whether this damage can change anything of the file."""
    return how == "remove" or not (name in EMPTY or (how == "stale" and name in WRITTEN_ONCE))


CHANGES: Final = tuple(each for each in itertools.product(FILES, HOW) if is_change(*each))


def damage(data: Path, old: Path, name: str, how: str, chance: random.Random) -> bool:
    """Do it, with the folder of an earlier time; False where it changes nothing."""
    path = path_of(data, name)
    if path is None:
        return False
    if how == "remove":
        path.unlink()
        return True
    before = path.read_bytes()
    after = _spoilt(before, how, chance) if how != "stale" else _older(path, data, old, chance)
    path.write_bytes(after)
    return after != before


def path_of(data: Path, name: str) -> Path | None:
    """The file that is called so here; None where there is none."""
    folder, _, which = name.partition("/")
    match which:
        case "first":
            files = sorted(each for each in (data / folder).glob("*") if each.suffix != ".damaged")
            return files[0] if files else None
        case "middle" | "last":
            segments = segment_files(data)
            return segments[-1] if which == "last" else segments[len(segments) // 2]
        case _:
            return data / name if (data / name).exists() else None


def _spoilt(before: bytes, how: str, chance: random.Random) -> bytes:
    """Another content, unless it is empty, or wholly zero and to be zeroed."""
    content = bytearray(before)
    if not content:
        return before
    at = chance.randrange(len(content))
    match how:
        case "flip":
            content[at] ^= 1 << chance.randrange(8)
        case "zero":
            begin = _page_to_zero(before, chance)
            end = min(begin + PAGE_BYTES, len(content)) if len(before) > PAGE_BYTES else begin + 1
            content[begin:end] = bytes(end - begin)
        case "truncate":
            del content[at:]
        case _:
            raise AssertionError(how)
    return bytes(content)


def _page_to_zero(before: bytes, chance: random.Random) -> int:
    """Where a page begins that is not zero yet; in a small file, a byte."""
    step = PAGE_BYTES if len(before) > PAGE_BYTES else 1
    full = [at for at in range(0, len(before), step) if any(before[at : at + step])]
    return chance.choice(full or [0])


def _older(path: Path, data: Path, old: Path, chance: random.Random) -> bytes:
    """What the file was before."""
    before = path.read_bytes()
    if path.suffix == ".seg":
        return before[: chance.choice(_ends(before, int(path.stem), salt_of(data)))]
    earlier = old / path.relative_to(data)
    return earlier.read_bytes() if earlier.exists() else before


def _ends(segment: bytes, number: int, salt: int) -> list[int]:
    """Where its records end but the last one; [0] where it has one, or none is whole."""
    ends = [0]
    while ends[-1] < len(segment):
        found = parse_record(segment, ends[-1], Position(number, ends[-1]), salt)
        if not isinstance(found, Record):
            break
        ends.append(found.end.offset)
    return ends[1:-1] or [0]
