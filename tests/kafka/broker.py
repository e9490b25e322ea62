"""A real Apache Kafka made from its own jars: Maven fetches them, Java runs them.

Jars are kept in `.kafka/` (git-ignored) and used only if every one has the SHA-512 that is
committed beside this file. `sources` says when this broker is taken.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[1] / ".kafka"
LOGGING: Final = {"4.3.1": "log4j2", "3.9.1": "reload4j"}
"""Releases, the newest first, and the Maven profile of what each logs through."""

MAVEN_SECONDS_MAX: Final = 600
START_SECONDS_MAX: Final = 180.0
STOP_SECONDS_MAX: Final = 30.0
START_ATTEMPTS_MAX: Final = 3
POLL_SECONDS: Final = 0.05
READY: Final = "Kafka Server started"


class KafkaUnavailableError(Exception):
    """No broker can be had in this way; the text says why."""


def start_local(version: str) -> LocalBroker:
    """A running broker from the jars of a release."""
    return _started(version, _jars(version, LOGGING[version]))


@dataclass(slots=True)
class LocalBroker:
    """One broker and controller in one process on loopback, its data in a temporary folder."""

    version: str
    jars: Path
    folder: Path
    port: int = field(default_factory=lambda: free_port())
    controller_port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        """What it is, for the report."""
        return f"Apache Kafka {self.version} by Maven and Java"

    @property
    def bootstrap(self) -> str:
        """Where clients find it; the same after a restart."""
        return f"127.0.0.1:{self.port}"

    def format(self) -> None:
        """Prepare the empty log folder."""
        (self.folder / "server.properties").write_text(self._properties())
        (self.folder / "log4j2.properties").write_text(LOG4J2)
        (self.folder / "log4j.properties").write_text(LOG4J)
        identity = self._tool("random-uuid").strip().splitlines()[-1]
        self._tool("format", "-t", identity, "-c", str(self.folder / "server.properties"))

    def start(self) -> None:
        """Start and wait until it serves."""
        assert self.process is None, "the broker is already running"
        log = self.folder / "broker.log"
        seen = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self.folder / "server.properties")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while READY not in (text := _tail(log, seen)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise KafkaUnavailableError(f"the broker did not start: {text[-1500:]}")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """End it, by SIGTERM if it can, and delete its data."""
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS_MAX)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed that was not already."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _java(self) -> list[str]:
        return [
            "java",
            "-Xms64m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            f"-Dlog4j.configuration=file:{self.folder / 'log4j.properties'}",
            "-cp",
            f"{self.jars}/*",
        ]

    def _tool(self, *arguments: str) -> str:
        result = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
            check=False,
        )
        if result.returncode != 0:
            raise KafkaUnavailableError(f"{arguments[0]}: {result.stdout}{result.stderr}"[-1500:])
        return result.stdout

    def _properties(self) -> str:
        share = SHARE_PROPERTIES if self.version.startswith("4.") else ""
        return (
            PROPERTIES.format(
                port=self.port, controller_port=self.controller_port, data=self.folder / "data"
            )
            + share
        )


PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=2000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
"""

SHARE_PROPERTIES: Final = """\
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""

LOG4J2: Final = """\
rootLogger.level=warn
rootLogger.appenderRefs=stdout
rootLogger.appenderRef.stdout.ref=STDOUT
appender.console.type=Console
appender.console.name=STDOUT
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
"""

LOG4J: Final = """\
log4j.rootLogger=WARN, stdout
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d %p %m (%c)%n
"""


def _started(version: str, jars: Path) -> LocalBroker:
    """A running broker; another try when its ports are no longer as free as they were."""
    for attempt in range(START_ATTEMPTS_MAX):
        broker = LocalBroker(version, jars, Path(tempfile.mkdtemp(prefix="guqiao-kafka-")))
        try:
            broker.format()
            broker.start()
            return broker
        except BaseException as error:
            broker.close()
            if "Address already in use" not in str(error) or attempt + 1 == START_ATTEMPTS_MAX:
                raise
    raise AssertionError("unreachable: the last attempt raises or returns")


def _jars(version: str, logging: str) -> Path:
    """The folder of verified jars; fetched by Maven when it is not there yet."""
    _require("java")
    expected = expected_digests(version)
    folder = CACHE / version
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        fetched = Path(tempfile.mkdtemp(dir=CACHE, prefix=f"{version}."))
        try:
            _fetch(version, logging, fetched)
            verify_jars(fetched, expected)
            fetched.chmod(0o755)
            try:
                fetched.rename(folder)
            except OSError:
                verify_jars(folder, expected)  # Another run was faster.
        finally:
            shutil.rmtree(fetched, ignore_errors=True)
    verify_jars(folder, expected)
    return folder


def verify_jars(folder: Path, expected: dict[str, str]) -> None:
    """Refuse a folder unless it holds exactly the expected files."""
    found = {path.name: hashlib.sha512(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    wrong = sorted(
        name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
    )
    if wrong:
        raise KafkaUnavailableError(f"files in {folder} that are not the pinned ones: {wrong}")


def expected_digests(version: str) -> dict[str, str]:
    """File name to SHA-512 of every jar of a release, as committed."""
    lines = (HERE / f"jars-{version}.sha512").read_text().splitlines()
    pairs = (line.split() for line in lines)
    return {name: digest for digest, name in pairs}


def _require(program: str) -> None:
    if shutil.which(program) is None:
        raise KafkaUnavailableError(f"no {program} on the path")


def _fetch(version: str, logging: str, target: Path) -> None:
    _require("mvn")
    result = subprocess.run(
        [
            "mvn",
            "--batch-mode",
            "--quiet",
            f"--file={HERE / 'pom.xml'}",
            f"--activate-profiles={logging}",
            f"-Dkafka.version={version}",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={target}",
        ],
        capture_output=True,
        text=True,
        timeout=MAVEN_SECONDS_MAX,
        check=False,
    )
    if result.returncode != 0:
        raise KafkaUnavailableError(f"mvn failed: {(result.stdout + result.stderr)[-800:]}")


def _die_with_parent() -> None:
    library: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)
    if library is not None:
        library(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _tail(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
