"""Feeds changed samples to decoders and judges what comes: a value with one spelling, or a refusal.

Bounds are of processor time and of memory, never of wall time: of what Python allocates, and where
a library of C decodes also of the process's peak. The same seed and samples give the same inputs;
samples with a signature or a salt are others in each run.
"""

from __future__ import annotations

import ctypes
import itertools
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.fuzz import mutations
from tests.fuzz.mutations import Mutation
from tests.fuzz.shape import Shape, observe

CPU_SECONDS_BASE: Final = 0.5
CPU_SECONDS_A_BYTE: Final = 20e-6
MEMORY_BASE: Final = 4 * 1024 * 1024
MEMORY_A_BYTE: Final = 400
RESIDENT_BASE: Final = 8 * 1024 * 1024
RESIDENT_A_BYTE: Final = 16
"""What a decoder may take: a shared machine is slow at times, an attack is slower by far."""

_LIBC: Final = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder under test. `decode` answers with a value; `encode`, where there is one spelling a
    value, gives its bytes again. `refusals` are the errors that it may raise. What is `native` is
    decoded by a library whose memory Python does not see.
    """

    name: str
    decode: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...]
    samples: Sequence[bytes]
    mutation: Mutation
    encode: Callable[[Any], bytes] | None = None
    native: bool = False


class FindingError(Exception):
    """An input that a decoder did not survive."""

    def __init__(self, target: str, data: bytes, why: str) -> None:
        super().__init__(f"{target}: {why}; the input: {data[:200].hex()} ({len(data)} bytes)")
        self.target = target
        self.data = data
        self.why = why


@dataclass(slots=True)
class Outcome:
    """What came of one target's inputs."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[FindingError] = field(default_factory=list)


def inputs(target: Target, seed: int, count: int) -> Iterator[bytes]:
    """The changed samples of one seed; every third is changed twice."""
    random = Random(f"{target.name}/{seed}")
    shapes = [_shape(target, sample) for sample in target.samples]
    for _ in range(count):
        data = target.mutation(random, random.choice(target.samples), shapes)
        while random.random() < 1 / 3:
            data = target.mutation(random, data, shapes)
        yield data


def _shape(target: Target, sample: bytes) -> Shape:
    return observe(sample, target.decode)


def judge(target: Target, data: bytes) -> str:
    """`accepted`, or the name of the refusal; raises `FindingError` for anything else."""
    began = time.thread_time()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    resident = _begin_peak() if target.native else 0
    try:
        value = target.decode(data)
        word = "accepted"
    except target.refusals as refusal:
        value, word = None, type(refusal).__name__
    except Exception as error:
        raise FindingError(target.name, data, f"{type(error).__name__}: {error}"[:300]) from error
    seconds = time.thread_time() - began
    memory = tracemalloc.get_traced_memory()[1] - before
    grown = _resident("VmHWM") - resident if target.native else 0
    if seconds > CPU_SECONDS_BASE + CPU_SECONDS_A_BYTE * len(data):
        raise FindingError(target.name, data, f"{seconds:.2f} s of processor time")
    if memory > MEMORY_BASE + MEMORY_A_BYTE * len(data):
        raise FindingError(target.name, data, f"{memory} bytes of memory")
    if grown > RESIDENT_BASE + RESIDENT_A_BYTE * len(data):
        raise FindingError(target.name, data, f"{grown} bytes of resident memory")
    if word == "accepted" and target.encode is not None and target.encode(value) != data:
        raise FindingError(target.name, data, "accepted, though it is not how the value is written")
    return word


def _swollen(target: Target) -> Iterator[bytes]:
    """What a library of C may build too much of."""
    if target.native:
        for sample in target.samples:
            yield from mutations.swollen(sample)


def _begin_peak() -> int:
    """Let the process's peak begin anew, and give the bytes that are resident now. What was freed
    goes back to the system first: it would hide what is taken again.
    """
    _LIBC.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _resident(name: str) -> int:
    """A number of bytes in the process's status."""
    status = Path("/proc/self/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def fuzz(target: Target, seed: int, count: int) -> Outcome:
    """Judge the inputs of one seed, and the samples themselves, which must be accepted and count:
    of a signed sample hardly any change is accepted, of some in some runs none.
    """
    outcome = Outcome()
    tracemalloc.start()
    try:
        for sample in target.samples:
            if (word := judge(target, sample)) != "accepted":
                raise FindingError(target.name, sample, f"a good sample is refused: {word}")
            outcome.counts[word] += 1
        for data in itertools.chain(_swollen(target), inputs(target, seed, count)):
            try:
                outcome.counts[judge(target, data)] += 1
            except FindingError as finding:
                outcome.findings.append(finding)
    finally:
        tracemalloc.stop()
    return outcome
