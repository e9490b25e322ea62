"""What the command line reads and asks of a link, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands import link_steps, messages
from guqiaoctl.commands.gateways import packet_named
from guqiaoctl.commands.link_steps import breaker_row
from guqiaoctl.commands.messages import newest
from guqiaoctl.failures import CliError

COLUMNS = ("number", "state")
Taken = list[tuple[str, str, dict[str, Json]]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """What was asked of a chain."""
    found: Taken = []
    monkeypatch.setattr(
        link_steps, "_take", lambda data, domain, method, body: found.append((domain, method, body))
    )
    return found


async def listed(count: int, size: int, *, gaps: bool = False) -> tuple[list[Any], bool, int]:
    """What is listed of records of `size` bytes, and how many were read."""
    read = 0

    async def record_of(number: int) -> dict[str, Json] | None:
        nonlocal read
        read += 1
        return None if gaps and number % 2 else {"state": "SENT", "object": "x" * size}

    found, has_older = await newest(count, record_of, COLUMNS)
    return found, has_older, read


@pytest.mark.req("G2-03-1")
async def test_a_list_of_messages_reads_a_bounded_number_of_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full inbox holds 10,000 messages of 236 KB: the newest are shown, none is kept whole."""
    monkeypatch.setattr(messages, "LISTED_BYTES_MAX", 10_000)
    found, has_older, read = await listed(1_000, 1_000)
    assert [each["number"] for each in found] == [*range(991, 1_001)]
    assert (has_older, read) == (True, 10)
    assert all(each == {"number": each["number"], "state": "SENT"} for each in found)


async def test_a_list_of_messages_reads_a_bounded_number_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "LISTED_MAX", 20)
    found, has_older, read = await listed(50, 1, gaps=True)
    assert [each["number"] for each in found] == [*range(32, 51, 2)]
    assert (has_older, read) == (True, 20)
    found, has_older, _ = await listed(3, 1)
    assert ([each["number"] for each in found], has_older) == ([1, 2, 3], False)
    assert await listed(0, 1) == ([], False, 0)


def test_a_port_that_nobody_used_is_closed_and_has_the_limits_of_all() -> None:
    row = breaker_row("market_message", None, None)
    assert (row["status"], row["packets"], row["packets_max"]) == ("CLOSED", 0, 500_000)


@pytest.mark.req("G2-16-4")
def test_an_open_breaker_is_shown_with_what_came_and_what_may() -> None:
    kept: dict[str, Json] = {"status": "OPEN", "packets": 5, "bytes": 9, "opened_height": 7}
    limits: dict[str, Json] = {"packets_max": 3, "bytes_max": 8, "window_ms": 60_000}
    assert breaker_row("data_object", kept, limits) == {
        "port": "data_object",
        "status": "OPEN",
        "packets": 5,
        "bytes": 9,
        **limits,
    }


@pytest.mark.req("G2-16-4")
def test_limits_and_breakers_are_those_of_the_sender_that_is_named(taken: Taken) -> None:
    data = Path("data")
    link_steps.set_limits(data, "csrc", "", "data_object", packets=9, mebibytes=2, window="30m")
    link_steps.set_limits(
        data, "shandong", "beijing", "market_delivery", packets=1, mebibytes=1, window="1h"
    )
    link_steps.close_breaker(data, "shandong", "beijing", "market_delivery", "x")
    link_steps.close_breaker(data, "csrc", "", "market_message", "x")
    assert taken[0] == (
        "csrc",
        "set_limits",
        {
            "source": "shandong",
            "port": "data_object",
            "packets_max": 9,
            "bytes_max": 2 * 1024 * 1024,
            "window_ms": 1_800_000,
        },
    )
    assert [(domain, body["source"]) for domain, _, body in taken[1:]] == [
        ("shandong", "beijing"),
        ("shandong", "beijing"),
        ("csrc", "shandong"),
    ]
    with pytest.raises(CliError):
        link_steps.set_limits(data, "csrc", "", "x", packets=1, mebibytes=1, window="soon")


@pytest.mark.req("N0-07")
def test_what_is_given_up_is_named_as_it_is_listed(taken: Taken) -> None:
    link_steps.give_up(Path("data"), "csrc", "beijing", "market_delivery/7", "无应答")
    body = {
        "destination": "beijing",
        "packets": [{"port": "market_delivery", "sequence": 7}],
        "reason": "无应答",
    }
    assert taken == [("csrc", "give_up", body)]


@pytest.mark.parametrize("packet", ["7", "/7", "market_delivery/", "a/-1", "a/" + "9" * 17])
def test_what_names_no_packet_is_refused(packet: str) -> None:
    with pytest.raises(CliError):
        packet_named(packet)
