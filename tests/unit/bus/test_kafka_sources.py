"""Which Kafka a run takes: the named one, else Docker's, else Maven's; and why not another."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.kafka import sources
from tests.kafka.broker import LOGGING, KafkaUnavailableError
from tests.kafka.docker_broker import environment, start_docker, started
from tests.kafka.sources import (
    BOOTSTRAP,
    RELEASE,
    Choice,
    NamedBroker,
    NamedBrokerAwayError,
    OwnBroker,
    Source,
    choice_of_this_machine,
)


@dataclass
class FakeBroker:
    origin: str
    bootstrap: str = "127.0.0.1:1"

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


def giving(name: str) -> Source:
    return Source(name, lambda: FakeBroker(f"a broker by {name}"))


def failing(name: str, why: str) -> Source:
    def start() -> OwnBroker:
        raise KafkaUnavailableError(why)

    return Source(name, start)


@pytest.fixture
def address() -> Iterator[str]:
    """Where something answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_named_broker_is_shared_whatever_else_there_is(address: str) -> None:
    choice = Choice({BOOTSTRAP: address}, [giving("Docker"), giving("Maven")])
    broker = choice.shared()
    assert isinstance(broker, NamedBroker)
    assert broker.bootstrap == address
    broker.close()
    assert address in choice.said[0]


def test_a_named_broker_that_is_away_is_an_error_and_is_not_replaced(address: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{probe.getsockname()[1]}"
        for wrong in (away, "nowhere", ":"):
            with pytest.raises(NamedBrokerAwayError, match="no broker answers"):
                Choice({BOOTSTRAP: wrong}, [giving("Docker")]).shared()
        for one_is_up in (f"{address},{away}", f"{away}, {address}"):
            assert Choice({BOOTSTRAP: one_is_up}, []).shared().bootstrap == one_is_up


def test_tests_that_kill_their_broker_never_get_the_named_one(address: str) -> None:
    choice = Choice({BOOTSTRAP: address}, [failing("Docker", "no engine"), giving("Maven")])
    assert choice.own().bootstrap != address
    assert choice.said == [
        "not taken: Docker: no engine",
        "tests that kill their broker ran over a broker by Maven",
    ]
    with pytest.raises(KafkaUnavailableError, match="Docker: no engine"):
        Choice({BOOTSTRAP: address}, [failing("Docker", "no engine")]).own()


@pytest.mark.parametrize("environment", [{}, {BOOTSTRAP: ""}])
def test_without_a_name_docker_comes_before_maven(environment: dict[str, str]) -> None:
    choice = Choice(environment, [giving("Docker"), giving("Maven")])
    assert choice.shared().origin == "a broker by Docker"
    assert choice.own().origin == "a broker by Docker"


def test_an_engine_that_cannot_pull_is_passed_over_and_the_reason_is_told() -> None:
    choice = Choice({}, [failing("Docker", "cannot pull"), giving("Maven")])
    assert choice.shared().origin == "a broker by Maven"
    assert choice.own().origin == "a broker by Maven"
    assert choice.said == [
        "not taken: Docker: cannot pull",
        "the bus contract and one import ran over a broker by Maven",
        "tests that kill their broker ran over a broker by Maven",
    ]


def test_where_there_is_none_every_reason_is_told() -> None:
    choice = Choice({}, [failing("Docker", "no engine"), failing("Maven", "no java on the path")])
    with pytest.raises(KafkaUnavailableError, match="Docker: no engine; Maven: no java"):
        choice.shared()
    assert choice.said == []


def test_this_machines_sources_are_docker_then_maven_with_the_newest_release_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(RELEASE, raising=False)
    newest, older = LOGGING
    names = [source.name for source in choice_of_this_machine().sources]
    assert names == ["Docker", f"Maven and Java, {newest}", f"Maven and Java, {older}"]


def test_docker_and_maven_give_the_same_release(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def start(version: str) -> OwnBroker:
        asked.append(version)
        raise KafkaUnavailableError("none")

    monkeypatch.setattr(sources, "start_docker", start)
    monkeypatch.setattr(sources, "start_local", start)
    for release in LOGGING:
        monkeypatch.setenv(RELEASE, release)
        with pytest.raises(KafkaUnavailableError):
            choice_of_this_machine().own()
    assert asked == [release for release in LOGGING for _ in ("Docker", "Maven")]
    monkeypatch.setenv(RELEASE, "0.8")
    with pytest.raises(KafkaUnavailableError, match=r"is none of .*: 0\.8"):
        choice_of_this_machine()


def test_no_engine_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(KafkaUnavailableError, match="no Docker engine answers"):
        start_docker("4.3.1")


@dataclass
class FakeContainer:
    """As much of a container as a broker uses; `trouble` is what its start raises."""

    image: str
    host: str = "localhost"
    trouble: Exception | None = None
    serves: bool = True
    status: str = "created"
    ports: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    output: bytes = b""
    removed: bool = False

    def get_container_host_ip(self) -> str:
        return self.host

    def with_env(self, name: str, value: str) -> None:
        self.env[name] = value

    def get_wrapped_container(self) -> FakeContainer:
        return self

    def start(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.status = "running" if self.serves else "exited"
        self.output += b"Kafka Server started\n" if self.serves else b"out of memory\n"

    def kill(self, signal: str) -> None:
        self.status = "exited"

    def stop(self) -> None:
        self.removed = True

    def reload(self) -> None: ...

    def logs(self, tail: int = 0) -> bytes:
        return self.output


def test_a_container_is_of_the_pinned_release_and_serves_this_machine_only() -> None:
    made: list[FakeContainer] = []

    def new(image: str) -> FakeContainer:
        made.append(FakeContainer(image))
        return made[-1]

    broker = started("4.3.1", new)
    (container,) = made
    assert container.image == "apache/kafka:4.3.1"
    assert container.ports == {"9092/tcp": ("127.0.0.1", broker.port)}
    assert container.env == environment(broker.bootstrap)
    assert broker.bootstrap == f"127.0.0.1:{broker.port}"
    broker.kill()
    broker.start()
    assert (container.status, container.removed) == ("running", False)
    broker.close()
    assert container.removed


def test_an_engine_elsewhere_gives_its_own_address() -> None:
    broker = started("4.3.1", lambda image: FakeContainer(image, host="10.0.0.7"))
    assert broker.bootstrap == f"10.0.0.7:{broker.port}"


@pytest.mark.parametrize(
    ("container", "why"),
    [
        (FakeContainer("", trouble=RuntimeError("manifest unknown")), "manifest unknown"),
        (FakeContainer("", trouble=TimeoutError("pull timed out")), "pull timed out"),
        (FakeContainer("", serves=False), "out of memory"),
    ],
)
def test_a_container_that_does_not_start_is_removed_and_the_reason_told(
    container: FakeContainer, why: str
) -> None:
    with pytest.raises(KafkaUnavailableError, match=f"apache/kafka:4.3.1.*{why}"):
        started("4.3.1", lambda image: container)
    assert container.removed


def test_a_port_that_was_taken_meanwhile_is_another_try() -> None:
    made = [
        FakeContainer("", trouble=RuntimeError("Bind failed: port is already allocated")),
        FakeContainer(""),
    ]
    waiting = iter(made)
    assert started("4.3.1", lambda image: next(waiting)).container is made[1]
    assert made[0].removed
    always = RuntimeError("port is already allocated")
    with pytest.raises(KafkaUnavailableError, match="already allocated"):
        started("4.3.1", lambda image: FakeContainer("", trouble=always))
