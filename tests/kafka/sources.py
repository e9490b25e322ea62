"""Which Apache Kafka the tests run against, and why that one.

`GUQIAO_KAFKA_BOOTSTRAP` names a broker: it is taken or the run fails, never replaced. Otherwise a
Docker engine gives one, else Maven and Java do, the newest release first. Tests that kill their
broker never get the named one, which is not theirs to kill.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from tests.kafka.broker import LOGGING, KafkaUnavailableError, start_local
from tests.kafka.docker_broker import start_docker

BOOTSTRAP: Final = "GUQIAO_KAFKA_BOOTSTRAP"
RELEASE: Final = "GUQIAO_KAFKA_RELEASE"
CONNECT_SECONDS_MAX: Final = 10.0


class Broker(Protocol):
    """A running broker."""

    @property
    def origin(self) -> str:
        """What it is, for the report."""

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""

    def close(self) -> None:
        """Give it back."""


class OwnBroker(Broker, Protocol):
    """A broker that a test may kill and start again: same address, same data."""

    def kill(self) -> None:
        """End it with SIGKILL."""

    def start(self) -> None:
        """Start it and wait until it serves."""


@dataclass(frozen=True, slots=True)
class NamedBroker:
    """Somebody else's broker, which stays as it is."""

    bootstrap: str

    @property
    def origin(self) -> str:
        """What it is, for the report."""
        return f"the broker {self.bootstrap} that {BOOTSTRAP} names"

    def close(self) -> None:
        """It is not ours to stop."""


@dataclass(frozen=True, slots=True)
class Source:
    """A way to get a broker of one's own."""

    name: str
    start: Callable[[], OwnBroker]


@dataclass(slots=True)
class Choice:
    """The brokers of one run, and what is said of them at its end."""

    environment: Mapping[str, str]
    sources: Sequence[Source]
    said: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    def shared(self) -> Broker:
        """The broker that all tests share which leave it running."""
        named = self.environment.get(BOOTSTRAP)
        broker: Broker = _named(named) if named else self._first()
        self.say(f"the bus contract and one import ran over {broker.origin}")
        return broker

    def own(self) -> OwnBroker:
        """A broker that the test may kill."""
        broker = self._first()
        self.say(f"tests that kill their broker ran over {broker.origin}")
        return broker

    def say(self, line: str) -> None:
        """Once, however often it happens."""
        if line not in self.said:
            self.said.append(line)

    def _first(self) -> OwnBroker:
        complaints: list[str] = []
        for source in self.sources:
            try:
                broker = source.start()
            except KafkaUnavailableError as error:
                complaints.append(f"{source.name}: {error}")
                continue
            for complaint in complaints:
                self.say(f"not taken: {complaint}")
            return broker
        raise KafkaUnavailableError("; ".join(complaints))


def choice_of_this_machine() -> Choice:
    """What the environment names and the machine has."""
    only = os.environ.get(RELEASE)
    releases = [version for version in LOGGING if only in {None, "", version}]
    if not releases:
        raise KafkaUnavailableError(f"{RELEASE} is none of {', '.join(LOGGING)}: {only}")
    docker = Source("Docker", partial(start_docker, releases[0]))
    maven = [
        Source(f"Maven and Java, {version}", partial(start_local, version)) for version in releases
    ]
    return Choice(os.environ, [docker, *maven])


def _named(bootstrap: str) -> NamedBroker:
    """The named broker, when anything answers at one of its addresses; another one would not be
    what was asked.
    """
    refusals = [_refusal(address.strip()) for address in bootstrap.split(",")]
    if all(refusals):
        text = f"{BOOTSTRAP} is {bootstrap}, where no broker answers ({'; '.join(refusals)})"
        raise NamedBrokerAwayError(text)
    return NamedBroker(bootstrap)


def _refusal(address: str) -> str:
    """Why nothing answers at an address; empty where something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS_MAX).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""


class NamedBrokerAwayError(Exception):
    """A broker is named and does not answer: an error of the run, not a reason for another one."""
