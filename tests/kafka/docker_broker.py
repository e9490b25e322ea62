"""A real Apache Kafka in a container: the Apache project's own image, of the release that Maven
would fetch, by its version tag.

The container keeps its data and its port through a kill and a start, as a broker's machine would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.kafka.broker import (
    POLL_SECONDS,
    READY,
    START_ATTEMPTS_MAX,
    START_SECONDS_MAX,
    KafkaUnavailableError,
    free_port,
)

IMAGE: Final = "apache/kafka"
INNER_PORT: Final = 9092
LOOPBACK: Final = "127.0.0.1"
NewContainer = Callable[[str], Any]
"""From an image to a container of testcontainers that has not started."""


@dataclass(slots=True)
class DockerBroker:
    """One broker and controller in one container."""

    container: Any
    image: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """What it is, for the report."""
        return f"the image {self.image} in Docker"

    @property
    def bootstrap(self) -> str:
        """Where clients find it; the same after a restart."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start the container again, with the data it had, and wait until it serves."""
        seen = self._times_ready()
        self.container.get_wrapped_container().start()
        self.wait_ready(seen)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed that was not already."""
        self.container.get_wrapped_container().kill(signal="SIGKILL")

    def close(self) -> None:
        """Remove the container and its data."""
        self.container.stop()

    def wait_ready(self, seen: int) -> None:
        """Until it says once more than before that it serves."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._times_ready() <= seen:
            wrapped = self.container.get_wrapped_container()
            wrapped.reload()
            if wrapped.status == "exited" or time.monotonic() > deadline:
                tail = wrapped.logs(tail=20).decode(errors="replace")
                raise KafkaUnavailableError(f"the broker did not start: {tail[-1500:]}")
            time.sleep(POLL_SECONDS)

    def _times_ready(self) -> int:
        logs: bytes = self.container.get_wrapped_container().logs()
        return logs.count(READY.encode())


def start_docker(version: str) -> DockerBroker:
    """A running broker, or `KafkaUnavailableError` with what Docker said."""
    import docker  # type: ignore[import-untyped]
    from testcontainers.core.container import DockerContainer

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        raise KafkaUnavailableError(f"no Docker engine answers ({error})") from None
    return started(version, DockerContainer)


def started(version: str, new_container: NewContainer) -> DockerBroker:
    """A running broker in a new container; another try when its port is taken meanwhile."""
    image = f"{IMAGE}:{version}"
    for attempt in range(START_ATTEMPTS_MAX):
        container = new_container(image)
        try:
            return _started(container, image)
        except Exception as error:  # Whatever Docker's libraries raise is why it cannot be had.
            container.stop()
            if "already allocated" in str(error) and attempt + 1 < START_ATTEMPTS_MAX:
                continue
            text = f"the Docker engine did not start {image} ({error})"
            raise KafkaUnavailableError(text) from error
    raise AssertionError("unreachable: the last attempt raises or returns")


def _started(container: Any, image: str) -> DockerBroker:
    host = container.get_container_host_ip().replace("localhost", LOOPBACK)
    broker = DockerBroker(container, image, host, free_port())
    # An engine on this machine serves this machine only.
    binding = (LOOPBACK, broker.port) if host == LOOPBACK else broker.port
    container.ports[f"{INNER_PORT}/tcp"] = binding
    for name, value in environment(broker.bootstrap).items():
        container.with_env(name, value)
    container.start()
    broker.wait_ready(0)
    return broker


def environment(bootstrap: str) -> dict[str, str]:
    """The settings of one KRaft node, as the image takes them."""
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"CLIENTS://:{INNER_PORT},CONTROLLER://:9093,BROKERS://:9094",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENTS://{bootstrap},BROKERS://localhost:9094",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKERS",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": (
            "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,BROKERS:PLAINTEXT"
        ),
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "300",
        "KAFKA_BROKER_SESSION_TIMEOUT_MS": "2000",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
