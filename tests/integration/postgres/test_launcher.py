"""The embedded PostgreSQL: starts anywhere, keeps what was committed, leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from services.chassis.postgres import EmbeddedPostgres
from services.chassis.postgres.errors import (
    DataFolderInUseError,
    DiskFullError,
    IdentityUnavailableError,
    NotAClusterError,
    OtherMajorVersionError,
    PortInUseError,
    StartFailedError,
)
from services.chassis.postgres.programs import Identity, find_programs, possible_identities

WAIT_SECONDS_MAX = 180.0
ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[3]

# Root can try them all; anybody else is one of them already.
IDENTITIES = [Identity.NAMESPACE, Identity.NOBODY] if ROOT else list(possible_identities())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="guqiao-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def readable_repository() -> Iterator[Path]:
    """This checkout at a place that every user can reach, whatever the folders above it allow.

    The place is removed only as an empty folder: never what is mounted there.
    """
    place = Path(tempfile.mkdtemp(prefix="guqiao-repository-"))
    place.chmod(0o755)
    subprocess.run(["mount", "--bind", str(REPOSITORY), str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cluster was created and stopped: to create one costs a second. Whoever spoils
    a file of it puts it back.
    """
    folder = tmp_path_factory.mktemp("existing") / "data"
    with EmbeddedPostgres(folder):
        pass
    return folder


@contextmanager
def put_back(file: Path) -> Iterator[None]:
    """Whatever is done to the file inside, afterwards it is as it was, owner and mode too."""
    data, before = file.read_bytes(), file.stat()
    try:
        yield
    finally:
        file.write_bytes(data)
        os.chown(file, before.st_uid, before.st_gid)
        file.chmod(stat.S_IMODE(before.st_mode))


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Path]:
    """A Python that every user may run: this one, or a copy where it lies in a closed home, with
    what was compiled already.
    """
    real = Path(sys.executable).resolve()
    if all(parent.stat().st_mode & 0o001 for parent in real.parents):
        yield real
        return
    home, folder = Path(sys.base_prefix), Path(tempfile.mkdtemp(prefix="guqiao-python-"))
    folder.chmod(0o755)
    leave_out = shutil.ignore_patterns("test", "site-packages", "idlelib", "*.a")
    library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(home / library, folder / library, ignore=leave_out)
    for shared in (home / "lib").glob("libpython*.so*"):
        shutil.copy(shared, folder / "lib")
    (folder / "bin").mkdir()
    yield Path(shutil.copy(real, folder / "bin"))
    shutil.rmtree(folder)


async def count_rows(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval("SELECT count(*) FROM notes")
        return found
    finally:
        await connection.close()


async def add_row(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
        await connection.execute("INSERT INTO notes VALUES ('kept')")
    finally:
        await connection.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def is_gone(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_a_cluster_is_created_and_found_again_under_every_identity(
    open_folder: Path, identity: Identity
) -> None:
    server = EmbeddedPostgres(open_folder / "data", identities=(identity,))
    async with server:
        await add_row(await server.create_database("guqiao"))
    async with server:
        assert await count_rows(await server.create_database("guqiao")) == 1


async def test_only_the_password_opens_it_and_only_on_loopback(existing: Path) -> None:
    async with EmbeddedPostgres(existing) as server:
        password = existing / "password"
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        wrong = server.url("postgres").replace(password.read_text(), "wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)
        connection = await asyncpg.connect(server.url("postgres"))
        try:
            settings = {
                name: await connection.fetchval(f"SHOW {name}")
                for name in ("listen_addresses", "fsync", "unix_socket_directories")
            }
            methods = await connection.fetch("SELECT auth_method FROM pg_hba_file_rules")
        finally:
            await connection.close()
    assert settings == {
        "listen_addresses": "127.0.0.1",
        "fsync": "on",
        "unix_socket_directories": "",
    }
    assert {row["auth_method"] for row in methods} == {"scram-sha-256"}


def test_a_folder_in_use_is_refused_and_its_server_stays(existing: Path) -> None:
    with EmbeddedPostgres(existing) as server:
        with pytest.raises(DataFolderInUseError) as refused:
            EmbeddedPostgres(existing).start()
        assert refused.value.holder == os.getpid()
        assert not is_gone(server.server_pid)


def test_a_folder_whose_server_was_started_by_hand_is_refused(
    existing: Path, tmp_path: Path
) -> None:
    programs = find_programs(existing, possible_identities())
    reader, writer = os.pipe()
    by_hand = subprocess.Popen(
        programs.command(
            "postgres",
            f"-D{existing / 'cluster'}",
            "-p1",
            "-clisten_addresses=",
            f"-cunix_socket_directories={tmp_path}",
        ),
        stdin=reader,
        stderr=subprocess.DEVNULL,
    )
    os.close(reader)
    try:
        pid_file = existing / "cluster" / "postmaster.pid"
        wait_for(lambda: pid_file.exists() and "ready" in pid_file.read_text(), "the server")
        with pytest.raises(DataFolderInUseError) as refused:
            EmbeddedPostgres(existing).start()
        assert refused.value.holder == int(pid_file.read_text().splitlines()[0])
    finally:
        os.close(writer)
        by_hand.wait(WAIT_SECONDS_MAX)


def test_a_port_in_use_is_named(existing: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError) as refused:
            EmbeddedPostgres(existing, port).start()
    assert refused.value.port == port
    assert str(port) in refused.value.text_zh
    with EmbeddedPostgres(existing, port) as server:
        assert server.port == port


def test_a_cluster_of_another_major_version_is_refused_untouched(existing: Path) -> None:
    version = existing / "cluster" / "PG_VERSION"
    with put_back(version):
        version.write_text("17\n")
        with pytest.raises(OtherMajorVersionError) as refused:
            EmbeddedPostgres(existing).start()
        assert refused.value.found == "17"
        assert version.read_text() == "17\n"


@pytest.mark.parametrize("missing", ["password", "cluster/PG_VERSION"])
def test_a_cluster_without_one_of_its_files_is_refused(existing: Path, missing: str) -> None:
    with put_back(existing / missing):
        (existing / missing).unlink()
        with pytest.raises(NotAClusterError):
            EmbeddedPostgres(existing).start()


def test_a_broken_cluster_is_reported_with_the_end_of_its_log(existing: Path) -> None:
    control = existing / "cluster" / "global" / "pg_control"
    with put_back(control):
        control.write_bytes(b"")
        with pytest.raises(StartFailedError, match="pg_control"):
            EmbeddedPostgres(existing).start()


def test_an_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "cluster.partial").mkdir()
    (tmp_path / "cluster.partial" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path) as server:
        assert not is_gone(server.server_pid)
    assert not (tmp_path / "cluster.partial").exists()


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_the_start(
    existing: Path,
) -> None:
    """As after a power cut, when the number belongs to another process by now."""
    server = EmbeddedPostgres(existing)
    with server:
        pid_file = (existing / "cluster" / "postmaster.pid").read_text()
    lines = pid_file.splitlines()
    lines[0] = str(os.getpid())
    (existing / "cluster" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with server:
        assert server.server_pid != os.getpid()


async def test_after_a_kill_of_the_server_what_was_committed_is_there(existing: Path) -> None:
    server = EmbeddedPostgres(existing)
    async with server:
        await add_row(await server.create_database("guqiao"))
        os.kill(server.server_pid, signal.SIGKILL)
    async with server:
        assert await count_rows(server.url("guqiao")) == 1


async def test_a_killed_launcher_leaves_no_server_and_the_next_one_starts(existing: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from services.chassis.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1])); server.start()\n"
        "print(server.server_pid, flush=True); time.sleep(600)\n"
    )
    launcher = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(existing), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY
    )
    assert launcher.stdout is not None
    server_pid = int(await launcher.stdout.readline())
    launcher.kill()
    await launcher.wait()
    async with EmbeddedPostgres(existing) as server:
        assert is_gone(server_pid)
        assert server.server_pid != server_pid


def test_a_killed_supervisor_takes_the_server_with_it(existing: Path) -> None:
    server = EmbeddedPostgres(existing)
    with server:
        server_pid = server.server_pid
        status = Path(f"/proc/{server_pid}/status").read_text()
        supervisor = int(status.split("PPid:")[1].split()[0])
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda: is_gone(server_pid), "the server to end")


def test_a_process_that_outlives_its_server_is_ended(existing: Path) -> None:
    """As one that fails on a full disk again and again; a stopped one notices nothing either."""
    server = EmbeddedPostgres(existing)
    server.start()
    server_pid = server.server_pid
    helper = int(subprocess.check_output(["pgrep", "-P", str(server_pid)], text=True).split()[0])
    os.kill(helper, signal.SIGSTOP)
    os.kill(server_pid, signal.SIGKILL)
    wait_for(lambda: is_gone(helper), "the stopped helper to be ended")
    server.stop()
    with EmbeddedPostgres(existing) as again:
        assert again.port > 0


def test_a_folder_closed_to_nobody_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """Root without user namespaces must become nobody, who cannot enter a 0700 folder."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(IdentityUnavailableError) as refused:
        EmbeddedPostgres(closed / "data", identities=(Identity.NOBODY,)).start()
    assert "nobody" in refused.value.attempts[0]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(not ROOT, reason="only root can mount a small disk")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(DiskFullError):
            EmbeddedPostgres(small / "data").start()
        assert not (small / "data" / "cluster").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
@pytest.mark.parametrize("user", [pwd.getpwnam("daemon").pw_uid, 54321])
def test_an_ordinary_user_and_one_without_passwd_entry_can_run_it(
    open_folder: Path, readable_repository: Path, interpreter: Path, user: int
) -> None:
    """The second is what containers with random user ids have."""
    data = open_folder / "data"
    data.mkdir()
    os.chown(data, user, user)
    program = (
        "import sys, asyncio; from pathlib import Path\n"
        "from services.chassis.postgres import EmbeddedPostgres\n"
        "async def main():\n"
        "    async with EmbeddedPostgres(Path(sys.argv[1])) as server:\n"
        "        print(await server.create_database('guqiao'))\n"
        "asyncio.run(main())\n"
    )
    result = subprocess.run(
        [interpreter, "-B", "-c", program, str(data)],
        user=user,
        group=user,
        extra_groups=[],
        cwd=readable_repository,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(
                path.replace(str(REPOSITORY), str(readable_repository)) for path in sys.path if path
            ),
            "LD_LIBRARY_PATH": str(interpreter.parents[1] / "lib"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith("/guqiao")
    assert (data / "cluster").stat().st_uid == user


@pytest.mark.skipif(not ROOT, reason="only root can become nobody")
def test_programs_that_nobody_can_read_are_copied(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a virtual environment under a home of mode 0700, whose mode must stay so."""
    from services.chassis.postgres import programs

    home = open_folder / "home"
    package = programs.installed_folder().parent.parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, home / name, symlinks=True)
    home.chmod(0o700)
    monkeypatch.setattr(
        programs, "installed_folder", lambda: home / package.name / "pginstall" / "bin"
    )
    with EmbeddedPostgres(open_folder / "data", identities=(Identity.NOBODY,)) as server:
        executable = Path(f"/proc/{server.server_pid}/exe").resolve()
    assert executable.is_relative_to(open_folder / "data" / "programs")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
