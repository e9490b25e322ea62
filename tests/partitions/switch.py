"""A network switch in user space: it carries the packets of hosts, or what a fault makes of them.

Each host is a TUN device in a network namespace of its own; host k has the address 198.18.0.k + 1
(RFC 2544's range for tests, which no real network uses). Of every pair of hosts each direction is a
wire of its own. What a wire does to packets is data, set over a pipe; what it did is counted.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import selectors
import socket
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing import Process
from typing import Any, Final, Self

PACKET_BYTES_MAX: Final = 65_536
NETWORK: Final = "198.18.0"
_TCP: Final = 6
_HEADERS_BYTES: Final = 80
"""At least the IP and TCP headers with options, padded."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One direction between two hosts: the chances are per packet."""

    cut: bool = False
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0: as fast as can be."""


GOOD: Final = Wire()
Wires = dict[tuple[int, int], Wire]


def address(host: int) -> str:
    """The address of a host."""
    return f"{NETWORK}.{host + 1}"


@dataclass(slots=True)
class _Switch:
    """Runs in a process of its own until its pipe ends."""

    devices: list[int]
    control: socket.socket
    chance: random.Random
    wires: Wires = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)
    waiting: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    free_at: dict[tuple[int, int], float] = field(default_factory=dict)
    order: itertools.count[int] = field(default_factory=itertools.count)

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        for host, device in enumerate(self.devices):
            os.set_blocking(device, False)
            selector.register(device, selectors.EVENT_READ, host)
        commands = self.control.makefile("r")
        selector.register(self.control, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select(self._until_next()):
                if key.data is None:
                    line = commands.readline()
                    if not line:
                        return
                    self._command(json.loads(line))
                else:
                    self._read(key.data)
            self._write_due()

    def _until_next(self) -> float | None:
        return max(self.waiting[0][0] - time.monotonic(), 0.0) if self.waiting else None

    def _command(self, wires: list[Any]) -> None:
        """Set all wires anew, and tell what has fired so far."""
        self.wires = {(source, target): Wire(**wire) for source, target, wire in wires}
        self.control.sendall(json.dumps(self.fired).encode() + b"\n")

    def _read(self, source: int) -> None:
        for _ in range(64):  # The others' turn comes.
            try:
                packet = os.read(self.devices[source], PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            target = _target(packet)
            if target is not None and target < len(self.devices):
                self._carry(source, target, packet)

    def _carry(self, source: int, target: int, packet: bytes) -> None:
        wire = self.wires.get((source, target), GOOD)
        if wire.cut or self._happens(wire.loss):
            self.fired["cut" if wire.cut else "loss"] += 1
            return
        if self._happens(wire.corrupt) and (spoilt := _corrupted(packet)) != packet:
            self.fired["corrupt"] += 1
            packet = spoilt
        copies = 1
        if self._happens(wire.duplicate):
            self.fired["duplicate"] += 1
            copies = 2
        for _ in range(copies):
            self._send(wire, source, target, packet)

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.chance.random() < chance

    def _send(self, wire: Wire, source: int, target: int, packet: bytes) -> None:
        now = time.monotonic()
        due = now + wire.delay_seconds + self.chance.uniform(0, wire.jitter_seconds)
        if wire.bytes_per_second:
            begins = max(now, self.free_at.get((source, target), now))
            self.free_at[source, target] = begins + len(packet) / wire.bytes_per_second
            due = max(due, self.free_at[source, target])
        if due > now:
            self.fired["slow" if wire.bytes_per_second else "delay"] += 1
            heapq.heappush(self.waiting, (due, next(self.order), target, packet))
        else:
            self._write(target, packet)

    def _write_due(self) -> None:
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, target, packet = heapq.heappop(self.waiting)
            self._write(target, packet)

    def _write(self, target: int, packet: bytes) -> None:
        try:
            os.write(self.devices[target], packet)
        except BlockingIOError:
            self.fired["queue_full"] += 1  # As a switch does; TCP sends it again.


def _target(packet: bytes) -> int | None:
    """The host that an IPv4 packet is for."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    return packet[19] - 1


def _corrupted(packet: bytes) -> bytes:
    """Two words of the payload change places: the checksum of TCP does not notice."""
    if len(packet) < _HEADERS_BYTES + 8 or packet[9] != _TCP:
        return packet
    at = _HEADERS_BYTES
    return packet[:at] + packet[at + 2 : at + 4] + packet[at : at + 2] + packet[at + 4 :]


class Switch:
    """The running switch, as the campaign sees it."""

    def __init__(self, devices: list[int], seed: int) -> None:
        self._control, other = socket.socketpair()
        self._answers = self._control.makefile("r")
        self._process = Process(target=self._serve, args=(devices, other, seed), daemon=True)
        self._process.start()
        other.close()

    def _serve(self, devices: list[int], control: socket.socket, seed: int) -> None:
        self._answers.close()
        self._control.close()  # The fork's copies: the pipe must end with the campaign.
        _Switch(devices, control, random.Random(seed)).run()

    def set(self, wires: Wires) -> Counter[str]:
        """Put these wires in place of all before (those that are not named are good); returns how
        many packets each fault has met since the start.
        """
        line = json.dumps([[*pair, asdict(wire)] for pair, wire in wires.items()])
        self._control.sendall(line.encode() + b"\n")
        return Counter(json.loads(self._answers.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._control.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
