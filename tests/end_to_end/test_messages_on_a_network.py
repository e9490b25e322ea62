"""`guqiao gateway send` on a running network: messages both ways, refused ones, late ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.harness import OneMachine, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-03-1", "G2-16-4", "N0-07")]

CONTENT = {"title": "股权质押信息核对", "lines": [1, 2, 3]}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    machine = OneMachine(tmp_path_factory.mktemp("messages") / "data")
    try:
        machine.up()
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("content") / "notice.json"
    path.write_text(json.dumps(CONTENT, ensure_ascii=False), encoding="utf-8")
    return path


def sent(machine: OneMachine, domain: str) -> list[dict[str, Any]]:
    """What a domain sent and how it stands."""
    told = machine.must("gateway", "sent", "--domain", domain, "-o", "json").json()["messages"]
    assert isinstance(told, list)
    return told


def wait_for(machine: OneMachine, domain: str, object_id: str, state: str) -> dict[str, Any]:
    """Until a message stands so; returns it."""

    def stands() -> bool:
        return any(
            (each["object_id"], each["state"]) == (object_id, state)
            for each in sent(machine, domain)
        )

    wait_until(f"the message is {state}", stands)
    return next(each for each in sent(machine, domain) if each["object_id"] == object_id)


def send(machine: OneMachine, to: str, content: Path, *more: object) -> str:
    """Send a message; returns its object id."""
    answer = machine.must("gateway", "send", "--to", to, "--object", content, "-o", "json", *more)
    object_id = answer.json()["object_id"]
    assert isinstance(object_id, str)
    return object_id


def test_messages_go_both_ways_and_their_ends_are_proven(
    machine: OneMachine, content: Path
) -> None:
    up = send(machine, "csrc", content, "--within", "1h")
    down = send(machine, "shandong", content, "--within", "1h", "--domain", "csrc")
    assert wait_for(machine, "shandong", up, "DELIVERED")["code"] == ""
    assert wait_for(machine, "csrc", down, "DELIVERED")["code"] == ""

    listed = machine.must("gateway", "inbox", "-o", "json").json()["messages"]
    (number,) = [each["number"] for each in listed if each["object_id"] == down]
    shown = machine.must("gateway", "inbox", "--show", number).json()
    assert shown["object"]["body"] == CONTENT
    assert shown["from"]["chain"] == "csrc"
    assert down in machine.must("gateway", "inbox", language="zh").out


def test_a_message_to_a_chain_that_nobody_knows_comes_home_refused(
    machine: OneMachine, content: Path
) -> None:
    nowhere = send(machine, "beijing", content, "--within", "1h")
    assert wait_for(machine, "shandong", nowhere, "REFUSED")["code"] == "CLIENT_UNKNOWN"


def test_what_a_paused_link_lets_pass_its_deadline_times_out_and_the_rest_arrives(
    machine: OneMachine, content: Path
) -> None:
    machine.must("gateway", "pause", "--reason", "核查中")
    late = send(machine, "csrc", content, "--within", "8s")
    kept = send(machine, "csrc", content, "--within", "1h")
    assert wait_for(machine, "shandong", late, "TIMED_OUT")["code"] == "PACKET_EXPIRED"
    machine.must("gateway", "resume", "--reason", "已核实")
    wait_for(machine, "shandong", kept, "DELIVERED")
    listed = machine.must("gateway", "messages", "--state", "timed_out", "-o", "json").json()
    assert [each["packet"].partition("/")[0] for each in listed["packets"]] == ["market_message"]
    status = machine.must("gateway", "status", "-o", "json").json()
    assert status["timed_out"] == 1


@pytest.mark.parametrize(
    ("given", "code", "error"),
    [
        ((), 2, "REQUEST_MALFORMED"),
        (("--within", "1h", "--working-days", 1), 2, "REQUEST_MALFORMED"),
        (("--within", "soon"), 2, "REQUEST_MALFORMED"),
        (("--within", "1h", "--type", "Notice"), 2, "BODY_MALFORMED"),
    ],
)
def test_messages_given_wrongly_are_refused_with_the_reason(
    machine: OneMachine, content: Path, given: tuple[object, ...], code: int, error: str
) -> None:
    refused = machine.run("gateway", "send", "--to", "csrc", "--object", content, *given)
    assert (refused.code, refused.error) == (code, error), refused.err


def test_steps_that_do_not_fit_are_refused(machine: OneMachine) -> None:
    closed = machine.run("gateway", "close-breaker", "data_object", "--reason", "x")
    assert closed.error == "ILLEGAL_TRANSITION", closed.err
    unknown = machine.run("gateway", "inbox", "--show", 99)
    assert (unknown.code, unknown.error) == (3, "PACKET_UNKNOWN"), unknown.err
