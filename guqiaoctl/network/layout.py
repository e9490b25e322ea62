"""Where the files of a one-machine network are, its ports, and the lock on its folder.

Everything is below one folder; nothing outside it is written. `network.json` names the format and
the ports, which are chosen once, so that endpoints stay the same from start to start.
"""

from __future__ import annotations

import errno
import fcntl
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from guqiao_sdk.files import make_folder
from guqiaoctl.failures import (
    EXIT_CONFLICT,
    EXIT_DENIED,
    EXIT_NOT_FOUND,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.network.files import write_file
from guqiaoctl.network.parties import CHAINS, MARKET, REPLICAS, SERVICES
from guqiaoctl.network.ports import free_ports

FORMAT: Final = "guqiao-network/1"
NODE_ENDS: Final = tuple(f"{MARKET}-{number}" for number in range(2))
"""The replicas whose node RPC is served over GM-TLS, and registered with the regulator."""
NODE_DOMAIN: Final = ".guqiao.internal"
"""Below it the market's replicas have names: on one machine all of them have one address."""
_LATER_PORTS: Final = frozenset(f"{name}.tunnel" for name in NODE_ENDS)
"""What folders of earlier releases have no port for."""
DATABASE: Final = "postgres"
LOOPBACK: Final = "127.0.0.1"
_EXIT_CODES: Final = {
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG), EXIT_USAGE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), EXIT_DENIED),
}
"""Of a folder that cannot be made, by the reason."""


def process_names() -> list[str]:
    """All processes but PostgreSQL, in the order of their start."""
    return replica_names() + [f"{domain}-{service}" for domain, service in SERVICES]


def replica_names() -> list[str]:
    """The replicas of both chains."""
    return [f"{chain}-{replica}" for chain in CHAINS for replica in range(REPLICAS)]


def _port_names() -> list[str]:
    names = [DATABASE]
    for name in process_names():
        names += [f"{name}.grpc", f"{name}.admin"]
        if name.rpartition("-")[2].isdigit():
            names.append(f"{name}.peer")
        if name.endswith("-gateway"):
            names += [f"{name}.tunnel", f"{name}.route"]
    return names + sorted(_LATER_PORTS)


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one network folder."""

    folder: Path

    @property
    def network_file(self) -> Path:
        """What makes a folder a network's folder."""
        return self.folder / "network.json"

    def authority(self, domain: str) -> Path:
        """Folder of a domain's certificate authority."""
        return self.folder / "ca" / domain

    def account(self, domain: str, name: str) -> Path:
        """Key file of an account."""
        return self.folder / "identities" / f"{domain}-{name}.pem"

    def restart_authority(self, name: str) -> Path:
        """Key file of CSRC or of the province, for the restart of a chain without a quorum."""
        return self.folder / "identities" / f"restart-{name}.pem"

    def genesis(self, chain: str) -> Path:
        """Genesis file of a chain."""
        return self.folder / "genesis" / f"{chain}.json"

    def chain_trust(self, chain: str) -> Path:
        """What services start from to verify a chain: genesis hash and replica set."""
        return self.folder / "genesis" / f"{chain}.trust.json"

    def process(self, name: str) -> Path:
        """Folder of a process: settings, certificate, keys, data."""
        return self.folder / "processes" / name

    def bodies(self, domain: str) -> Path:
        """Folder of a domain's encrypted bodies, which do not stand on chain."""
        return self.folder / "bodies" / domain

    def body_keys(self, domain: str) -> Path:
        """Folder of the wrapped keys of those bodies."""
        return self.folder / "body-keys" / domain

    def wrapping_key(self, domain: str) -> Path:
        """The key under which those keys are wrapped."""
        return self.folder / "identities" / f"{domain}-bodies.kek"

    def bucket(self, domain: str) -> Path:
        """Where those bodies are if not in their folder: the settings of a bucket, with secret."""
        return self.folder / "identities" / f"{domain}-bodies.s3"

    @property
    def trust(self) -> Path:
        """The trust file for offline verification."""
        return self.folder / "trust.json"

    def log(self, name: str) -> Path:
        """Log file of a process, or of the database server."""
        if name == DATABASE:
            return self.folder / "postgres" / "postgres.log"
        return self.folder / "logs" / f"{name}.log"


@dataclass(frozen=True, slots=True)
class Network:
    """A network folder that exists."""

    layout: Layout
    network_id: str
    created_at: str
    ports: dict[str, int]

    def address(self, port_name: str) -> str:
        """`127.0.0.1:port`."""
        return f"{LOOPBACK}:{self.ports[port_name]}"

    def node_endpoints(self, chain: str) -> list[str]:
        """Node RPC addresses of a chain, by replica."""
        return [self.address(f"{chain}-{replica}.grpc") for replica in range(REPLICAS)]

    def reached_at(self, host: str, port: int) -> tuple[str, int]:
        """Where a registered node is reached from here: by its name on loopback, at the port that
        it has now. Whatever is there has to show that replica's certificate.
        """
        port_name = f"{host.removesuffix(NODE_DOMAIN)}.tunnel"
        if host.endswith(NODE_DOMAIN) and port_name in self.ports:
            return LOOPBACK, self.ports[port_name]
        return host, port


def choose_ports() -> dict[str, int]:
    """A free port for each name."""
    return _free_ports_for(_port_names())


def with_all_ports(network: Network) -> Network:
    """The network with a port for each name that an earlier release had none for, written down."""
    lacking = [name for name in _port_names() if name not in network.ports]
    if not lacking:
        return network
    ports = {**network.ports, **_free_ports_for(lacking)}
    found = Network(network.layout, network.network_id, network.created_at, ports)
    save_network(found)
    return found


def _free_ports_for(names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, free_ports(len(names)), strict=True))


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else, before anything is written into it."""
    try:
        if not folder.exists() or (folder / "network.json").exists():
            return
    except OSError as error:
        raise _cannot_be_made(folder, error) from error
    if not folder.is_dir():
        raise _cannot_be_made(folder, FileExistsError(errno.EEXIST, "", str(folder)))
    if all(entry.name in {"lock", "run"} for entry in folder.iterdir()):
        return
    raise CliError(
        "DATA_FOLDER_OTHER_NETWORK",
        f"{folder} is not empty and holds no network",
        f"{folder} 不为空，且不是股桥网络目录",
        "choose another folder with --data, or empty this one",
        "请用 --data 指定其他目录，或清空该目录",
        exit_code=EXIT_CONFLICT,
    )


def create_network(folder: Path) -> Network:
    """Make a new network folder; refuses one that holds something else."""
    refuse_foreign(folder)
    _make(folder)
    network = Network(
        Layout(folder),
        secrets.token_hex(8),
        datetime.now(UTC).isoformat(),
        choose_ports(),
    )
    save_network(network)
    return network


def save_network(network: Network) -> None:
    """Write `network.json` anew, in one step."""
    content = {
        "format": FORMAT,
        "network_id": network.network_id,
        "created_at": network.created_at,
        "ports": network.ports,
    }
    write_file(network.layout.network_file, (json.dumps(content, indent=2) + "\n").encode())


def load_network(folder: Path) -> Network:
    """Read a network folder, or say that there is none."""
    layout = Layout(folder)
    try:
        content = json.loads(layout.network_file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise CliError(
            "NETWORK_UNKNOWN",
            f"there is no network in {folder}",
            f"{folder} 中没有网络",
            "start one with `guqiao dev up`, or name its folder with --data",
            "请用 `guqiao dev up` 启动，或用 --data 指定目录",
            exit_code=EXIT_NOT_FOUND,
        ) from None
    except ValueError:
        content = None
    if not _is_network(content):
        raise CliError(
            "DATA_FOLDER_OTHER_NETWORK",
            f"{layout.network_file} is not of the format {FORMAT}",
            f"{layout.network_file} 的格式不是 {FORMAT}",
            "choose another folder with --data, or use the version that made this one",
            "请用 --data 指定其他目录，或使用创建该目录的版本",
            exit_code=EXIT_CONFLICT,
        )
    return Network(layout, content["network_id"], content["created_at"], content["ports"])


def _make(folder: Path) -> None:
    """Make the network's folder; one that cannot be is an error that names it."""
    try:
        make_folder(folder)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise _cannot_be_made(folder, error) from error


def _cannot_be_made(folder: Path, error: OSError) -> CliError:
    reasons = (str(error.strerror),) * 2
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        reasons = f"{error.filename} is no folder", f"{error.filename} 不是目录"
    return CliError(
        "FILE_UNWRITABLE",
        f"the folder {folder} cannot be made: {reasons[0]}",
        f"无法创建目录 {folder}：{reasons[1]}",
        "choose another folder with --data",
        "请用 --data 指定其他目录",
        exit_code=_EXIT_CODES.get(error.errno or 0, EXIT_UNAVAILABLE),
    )


def _is_network(content: Any) -> bool:
    """Whether `network.json` is of this format, ports and all."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    ports = content.get("ports")
    return (
        isinstance(ports, dict)
        and set(_port_names()) - _LATER_PORTS <= set(ports) <= set(_port_names())
        and all(type(port) is int and 0 < port < 65_536 for port in ports.values())
        and all(isinstance(content.get(name), str) for name in ("network_id", "created_at"))
    )


def lock_folder(folder: Path) -> IO[str]:
    """Hold the folder for this process; refuses when another one holds it. Keep the file open."""
    _make(folder)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CliError(
            "DATA_FOLDER_IN_USE",
            f"a network already runs in {folder}",
            f"{folder} 中的网络正在运行",
            "use it, or stop it with `guqiao dev down`",
            "可直接使用，或用 `guqiao dev down` 停止",
            exit_code=EXIT_CONFLICT,
        ) from None
    return file
