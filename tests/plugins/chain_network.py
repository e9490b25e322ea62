"""A chain of real replica processes in a temporary folder, for tests.

`ChainNetwork.create` makes keys, certificates, genesis and settings; `start` runs the replicas as
subprocesses that talk GM-TLS on loopback. Every wait is for a condition and bounded. `close` ends
every process that was started here, by its pid.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.client.trust import ChainTrust, trust_from_genesis
from guqiao_sdk.gm.certificates import CertificateAuthority, replica_identity
from guqiao_sdk.gm.keyfile import save_private_key
from guqiao_sdk.gm.provider import GmProvider, PrivateKey, open_provider
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.network.ports import free_ports
from services.consensus.domain.ledger.genesis_json import parse_genesis

ROOT: Final = Path(__file__).parents[2]
ADMIN: Final = "admin"
OBSERVER: Final = "observer"
START_SECONDS_MAX: Final = 120.0
PARAMETERS: Final[Mapping[str, Json]] = {
    "window": 8,
    "batch_transactions_max": 500,
    "batch_bytes_max": 1_048_576,
    "heartbeat_ms": 5_000,
    "view_timeout_ms": 1_000,
    "view_timeout_max_ms": 8_000,
    "clock_bound_ms": 10_000,
    "snapshot_interval": 1_000,
}
DEFAULT_ROLES: Final[Mapping[str, Sequence[str]]] = {
    ADMIN: ("identity_admin",),
    OBSERVER: ("observer",),
}


@cache
def one_provider() -> GmProvider:
    """The provider of every chain in this process: a key of another one is loaded anew for each
    signature, which costs more than the signature itself.
    """
    return open_provider()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica runs: its address for the others, and what comes before its command.

    Elsewhere than on this machine's loopback, clients reach it through a Unix socket.
    """

    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


@dataclass(slots=True)
class ReplicaProcess:
    """One replica: where it is configured, where it answers, and its process while it runs."""

    number: int
    folder: Path
    config: Path
    place: Place
    peer_port: int
    grpc_port: int
    admin_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def grpc(self) -> str:
        """Where clients reach it."""
        if self.place.prefix:
            return f"unix:{self.folder}.sock"
        return f"127.0.0.1:{self.grpc_port}"


@dataclass(slots=True)
class ChainNetwork:
    """Everything of one chain. Make it with `create`."""

    folder: Path
    chain_id: str
    provider: GmProvider
    genesis: bytes
    trust: ChainTrust
    authority: CertificateAuthority
    replicas: list[ReplicaProcess]
    identities: dict[str, Identity]
    vote_keys: list[PrivateKey]
    clients: list[ChainClient] = field(default_factory=list)
    module: str = "services.consensus"
    """What a replica's process runs: this, or a replica with more contracts."""

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        chain_id: str = "shandong",
        size: int = 4,
        roles: Mapping[str, Sequence[str]] = DEFAULT_ROLES,
        contracts: Iterable[tuple[str, int]] = (("identity", 1),),
        parameters: Mapping[str, Json] = PARAMETERS,
        destination: str | None = None,
        historic_import: bool = True,
        remote_chains: Sequence[Json] = (),
        places: Sequence[Place] = (),
        genesis_members: Mapping[str, Json] | None = None,
    ) -> ChainNetwork:
        """Keys, certificates, genesis and settings of `size` replicas of as many legal entities,
        which run on this machine's loopback or at these places.

        `genesis_members` are further members of the genesis. `roles` names identities: `name ->
        roles`; each gets the DID
        `did:rem:<chain>:91370000DEMO000000.<name>` and one key `k1`.
        """
        provider = one_provider()
        folder.mkdir(parents=True, exist_ok=True)
        vote_keys = [provider.keygen() for _ in range(size)]
        identities = {name: _identity(chain_id, name, provider) for name in roles}
        genesis = _genesis(
            chain_id,
            vote_keys,
            [(identities[name], held) for name, held in roles.items()],
            contracts,
            parameters,
            destination,
            historic_import,
            remote_chains,
            genesis_members or {},
        )
        (folder / "genesis.json").write_bytes(genesis)
        authority = _authority(folder, provider)
        ports = free_ports(3 * size)
        places = places or [Place()] * size
        addresses = [
            f"{place.address}:{port}" for place, port in zip(places, ports[:size], strict=True)
        ]
        replicas = []
        for number in range(size):
            replica = ReplicaProcess(
                number=number,
                folder=folder / f"replica{number}",
                config=folder / f"replica{number}.toml",
                place=places[number],
                peer_port=ports[number],
                grpc_port=ports[size + number],
                admin_port=ports[2 * size + number],
            )
            _write_replica(replica, folder, chain_id, provider, authority, vote_keys[number])
            replica.config.write_text(_settings(replica, folder, chain_id, addresses))
            replicas.append(replica)
        trust = trust_from_genesis(genesis)
        return cls(
            folder,
            chain_id,
            provider,
            genesis,
            trust,
            authority,
            replicas,
            identities,
            vote_keys,
        )

    @property
    def endpoints(self) -> list[str]:
        """The node RPC of all replicas, by number."""
        return [replica.grpc for replica in self.replicas]

    def endpoint(self, number: int) -> str:
        """The node RPC of one replica, in the form that names it."""
        return f"{number}@{self.replicas[number].grpc}"

    def start(self, *numbers: int) -> None:
        """Start these replicas, or all."""
        for number in numbers or range(len(self.replicas)):
            replica = self.replicas[number]
            assert replica.process is None, f"replica {number} runs already"
            log = (self.folder / f"replica{number}.log").open("ab")
            replica.process = subprocess.Popen(
                [
                    *replica.place.prefix,
                    *(sys.executable, "-m", self.module, "serve", "--config", replica.config),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
                stdout=log,
                stderr=log,
            )
            log.close()

    def kill(self, *numbers: int) -> None:
        """End these replicas as a power cut would: SIGKILL."""
        self._end(numbers, signal.SIGKILL)

    def stop(self, *numbers: int) -> list[int]:
        """Ask these replicas (or all that run) to end; returns their exit codes."""
        running = [replica.number for replica in self.replicas if replica.process is not None]
        return self._end(numbers or running, signal.SIGTERM)

    async def wait_ready(self, *numbers: int, seconds_max: float = START_SECONDS_MAX) -> None:
        """Until these replicas (or all) say that they can serve."""
        deadline = time.monotonic() + seconds_max
        for number in numbers or range(len(self.replicas)):
            replica = self.replicas[number]
            while not await asyncio.to_thread(_is_ready, replica.admin_port):
                assert replica.process is not None, f"replica {number} was not started"
                assert replica.process.poll() is None, (
                    f"replica {number} ended with {replica.process.returncode}: {self.log(number)}"
                )
                assert time.monotonic() < deadline, f"replica {number}: {self.log(number)}"
                await asyncio.sleep(0.05)

    def client(
        self,
        name: str = OBSERVER,
        *,
        endpoints: Sequence[str] = (),
        trust: ChainTrust | None = None,
    ) -> ChainClient:
        """A client with one of the identities; closed by `close_clients`."""
        client = ChainClient(
            self.chain_id,
            list(endpoints) or self.endpoints,
            self.identities[name],
            trust or self.trust,
            self.provider,
        )
        self.clients.append(client)
        return client

    async def close(self) -> None:
        """Close the clients and end every process that runs."""
        for client in self.clients:
            await client.close()
        running = [replica.number for replica in self.replicas if replica.process is not None]
        self._end(running, signal.SIGKILL)

    def log(self, number: int) -> str:
        """The last lines that a replica wrote."""
        path = self.folder / f"replica{number}.log"
        return path.read_text(errors="replace")[-4_000:] if path.exists() else ""

    def _end(self, numbers: Iterable[int], how: signal.Signals) -> list[int]:
        codes = []
        for number in numbers:
            process = self.replicas[number].process
            if process is not None:
                process.send_signal(how)
        for number in numbers:
            process = self.replicas[number].process
            if process is not None:
                codes.append(process.wait(timeout=20))
                self.replicas[number].process = None
        return codes


def _identity(chain_id: str, name: str, provider: GmProvider) -> Identity:
    """`<number>/<name>` belongs to the entity of that replica."""
    number, _, name = name.rpartition("/")
    code = f"91370000TEST00000{number}" if number else "91370000DEMO000000"
    organisation = f"did:rem:{chain_id}:{code}"
    return Identity(f"{organisation}.{name}", "k1", organisation, provider.keygen())


def _genesis(
    chain_id: str,
    vote_keys: Sequence[PrivateKey],
    identities: Sequence[tuple[Identity, Sequence[str]]],
    contracts: Iterable[tuple[str, int]],
    parameters: Mapping[str, Json],
    destination: str | None,
    historic_import: bool,
    remote_chains: Sequence[Json],
    further: Mapping[str, Json],
) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    members: dict[str, Json] = {
        "format": "guqiao-genesis/1",
        "chain_id": chain_id,
        "epoch": 0,
        "genesis_time_ms": now_ms,
        "historic_import": historic_import,
        "destination": destination,
        "replicas": [
            {
                "entity_id": f"91370000TEST00000{number}",
                "entity_name": f"测试机构{number}",
                "vote_key": key.public_key.hex(),
            }
            for number, key in enumerate(vote_keys)
        ],
        "parameters": dict(parameters),
        "contracts": [
            {"name": name, "version": version, "from_height": 1, "parameters": {}}
            for name, version in contracts
        ],
        "identities": [_identity_json(identity, roles, now_ms) for identity, roles in identities],
        "remote_chains": list(remote_chains),
        **further,
    }
    return parse_genesis(json.dumps(members).encode()).to_bytes()


def _identity_json(identity: Identity, roles: Sequence[str], now_ms: int) -> Json:
    return {
        "did": identity.did,
        "organisation": identity.organisation,
        "roles": list(roles),
        "keys": [
            {
                "id": identity.key_id,
                "public_key": identity.private_key.public_key.hex(),
                "not_before_ms": now_ms - 3_600_000,
                "not_after_ms": now_ms + 365 * 86_400_000,
            }
        ],
    }


def _authority(folder: Path, provider: GmProvider) -> CertificateAuthority:
    now = datetime.now(UTC)
    authority = CertificateAuthority.create(
        provider,
        provider.keygen(),
        organisation="Test",
        common_name="Test Root",
        not_before=now - timedelta(hours=1),
        not_after=now + timedelta(days=30),
    )
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    crl = authority.issue_crl(
        [], this_update=now - timedelta(hours=1), next_update=now + timedelta(days=1)
    )
    (folder / "crl.pem").write_bytes(crl)
    return authority


def _write_replica(
    replica: ReplicaProcess,
    folder: Path,
    chain_id: str,
    provider: GmProvider,
    authority: CertificateAuthority,
    vote_key: PrivateKey,
) -> None:
    now, number = datetime.now(UTC), replica.number
    tls_key = provider.keygen()
    certificate = authority.issue(
        replica_identity(chain_id, number),
        tls_key.public_key,
        organisation=f"Test {number}",
        common_name=f"replica {number}",
        not_before=now - timedelta(hours=1),
        not_after=now + timedelta(days=1),
    )
    (folder / f"replica{number}.pem").write_bytes(certificate)
    save_private_key(folder / f"replica{number}.tls.key", tls_key)
    save_private_key(folder / f"replica{number}.vote.key", vote_key)


def _settings(
    replica: ReplicaProcess, folder: Path, chain_id: str, addresses: Sequence[str]
) -> str:
    number = replica.number
    grpc = f'host = "{replica.grpc}"' if replica.place.prefix else f"port = {replica.grpc_port}"
    return f"""\
domain = "{chain_id}"
development = true
chain_id = "{chain_id}"
replica = {number}
genesis_file = "{folder}/genesis.json"
data_folder = "{replica.folder}"
vote_key_file = "{folder}/replica{number}.vote.key"
disk_reserve_bytes = 1048576

[peers]
host = "{replica.place.address}"
port = {replica.peer_port}
addresses = {json.dumps(list(addresses))}

[gm]
certificate = "{folder}/replica{number}.pem"
key = "{folder}/replica{number}.tls.key"
authorities = [
  {{domains = ["{chain_id}"], certificate = "{folder}/ca.pem", crl = "{folder}/crl.pem"}},
]

[grpc]
{grpc}

[admin]
port = {replica.admin_port}
"""


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
