"""The checkers of `make partitions` can fail, its shapes mean what they say, its switch does it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.proof.receipt import Outcome
from tests.partitions.__main__ import chosen
from tests.partitions.campaign import Record, ViolationError
from tests.partitions.hosts import Host, why_not
from tests.partitions.shapes import CLOCK_SHAPES, REPLICAS, SHAPES, N
from tests.partitions.switch import GOOD, Switch, Wire, Wires, address

QUORUM = 3


def block(height: int, *ids: bytes, name: bytes = b"header", refused: bool = False) -> Any:
    outcome = Outcome.REFUSED if refused else Outcome.APPLIED
    receipts = [SimpleNamespace(transaction_id=each, outcome=outcome) for each in ids]
    header = SimpleNamespace(hash=lambda: name)
    return cast("VerifiedBlock", SimpleNamespace(height=height, header=header, receipts=receipts))


def told(record: Record, transaction_id: bytes, height: int, index: int) -> None:
    result = SimpleNamespace(height=height, index=index)
    record.told[transaction_id] = cast("TransactionResult", result)


def test_what_replicas_hold_alike_and_clients_were_told_is_right() -> None:
    record = Record()
    told(record, b"b", 1, 1)
    for number in range(N):
        record.take(number, block(1, b"a", b"b"))
    record.check()


def test_two_blocks_of_one_height_are_found() -> None:
    record = Record()
    record.take(0, block(1, b"a"))
    with pytest.raises(ViolationError, match="replica 1 holds another block 1"):
        record.take(1, block(1, b"a", name=b"another"))


def test_a_transaction_that_took_effect_twice_is_found() -> None:
    record = Record()
    record.take(0, block(1, b"a"))
    record.take(0, block(2, b"a", name=b"second", refused=True))
    with pytest.raises(ViolationError, match="took effect twice"):
        record.take(0, block(3, b"a", name=b"third"))


@pytest.mark.parametrize("place", [(2, 0), (1, 1)])
def test_what_was_told_and_is_not_there_is_found(place: tuple[int, int]) -> None:
    record = Record()
    told(record, b"a", *place)
    record.take(0, block(1, b"a"))
    with pytest.raises(ViolationError, match="is not where it was told to be"):
        record.check()


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("seed", range(5))
def test_who_must_decide_is_a_quorum_connected_in_both_directions(name: str, seed: int) -> None:
    primary = seed % N
    shape = SHAPES[name](random.Random(seed), primary)
    assert len(shape.deciding) in (0, QUORUM)
    for step in shape.steps:
        assert not (step.paused | step.astray) & shape.deciding
        for source in shape.deciding:
            for target in shape.deciding - {source}:
                assert step.wires.get((source, target), GOOD) == GOOD
        assert {number for pair in step.wires for number in pair} <= REPLICAS
    shown = {
        "cut": any(wire.cut for step in shape.steps for wire in step.wires.values()),
        "paused": any(step.paused for step in shape.steps),
        "clock": any(step.astray and step.clock_seconds for step in shape.steps),
    }
    assert shown.get(shape.fired, bool(shape.steps[-1].wires))


def test_there_are_shapes_with_and_without_a_quorum_and_each_is_played() -> None:
    assert len(SHAPES) >= 12
    assert 2 * len(CLOCK_SHAPES) >= 12, "jumps, away and back (T-15)"
    assert set(chosen(SHAPES, 24, 1)) == set(SHAPES)
    assert chosen(SHAPES, 24, 1) == chosen(SHAPES, 24, 1) != chosen(SHAPES, 24, 2)


ECHO = """
import socket
server = socket.create_server((ADDRESS, 9000))
print(flush=True)
while True:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
"""
ASK = """
import socket
sent = bytes(range(256)) * 64
with socket.create_connection((ADDRESS, 9000), SECONDS) as connection:
    connection.settimeout(20)
    connection.sendall(sent)
    heard = b""
    while len(heard) < len(sent):
        heard += connection.recv(65536)
print("same" if heard == sent else "another")
"""


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[Host, Switch]]:
    """Host 0, and the switch that leads to an echo on host 1."""
    assert (reason := why_not()) is None, reason
    with ExitStack() as stack:
        hosts = [stack.enter_context(Host(number)) for number in range(2)]
        switch = stack.enter_context(Switch([host.device for host in hosts], 1))
        code = ECHO.replace("ADDRESS", repr(address(1)))
        echo = subprocess.Popen(
            [*hosts[1].prefix, sys.executable, "-c", code], stdout=subprocess.PIPE
        )
        stack.callback(echo.wait)
        stack.callback(echo.kill)
        assert echo.stdout is not None
        echo.stdout.readline()
        yield hosts[0], switch


def ask(host: Host, seconds_to_connect: float = 20.0) -> str:
    code = ASK.replace("ADDRESS", repr(address(1))).replace("SECONDS", str(seconds_to_connect))
    done = subprocess.run(
        [*host.prefix, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("wire", "fired", "heard"),
    [
        (GOOD, "", "same"),
        (Wire(duplicate=1.0), "duplicate", "same"),
        (Wire(delay_seconds=0.01, jitter_seconds=0.02), "delay", "same"),
        (Wire(bytes_per_second=200_000), "slow", "same"),
        (Wire(loss=0.1), "loss", "same"),
        (Wire(corrupt=1.0), "corrupt", "another"),
    ],
)
def test_a_wire_does_to_packets_what_it_says(
    network: tuple[Host, Switch], wire: Wire, fired: str, heard: str
) -> None:
    host, switch = network
    before = switch.set(dict[tuple[int, int], Wire]({(0, 1): wire}))
    assert ask(host) == heard
    met = switch.set({}) - before
    assert set(met) == ({fired} if fired else set())


@pytest.mark.parametrize("wires", [{(0, 1): Wire(cut=True)}, {(1, 0): Wire(cut=True)}])
def test_a_wire_that_is_cut_carries_nothing_in_its_direction(
    network: tuple[Host, Switch], wires: Wires
) -> None:
    host, switch = network
    before = switch.set(wires)
    assert "timed out" in ask(host, seconds_to_connect=1.5)
    assert set(switch.set({}) - before) == {"cut"}
