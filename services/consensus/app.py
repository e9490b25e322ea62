"""The composition root of a replica: settings -> store -> core -> links -> node RPC -> tasks.

The order of opening is the order of refusing: genesis and keys first, then the data folder, then
the ports. Whatever fails after that ends the process; the durable log brings it back.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import structlog

from guqiao.consensus.v1.node_service_pb2_grpc import add_NodeServiceServicer_to_server
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.gm.certificates import replica_identity
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider, open_provider
from services.chassis.admin import AdminServer, Probes
from services.chassis.errors import NotFoundError
from services.chassis.gm_tls import (
    GmTlsIdentity,
    certificate_check,
    count_refusals,
    open_identity,
)
from services.chassis.grpc_server import GrpcServer, RpcRefusals, ServerLimits, build_server
from services.chassis.grpc_server.nonces_file import FileNonceStore
from services.chassis.grpc_server.ports import PeerLookup
from services.chassis.grpc_server.tunnel_peers import open_peers
from services.chassis.settings import SettingsError
from services.chassis.telemetry import Telemetry, open_telemetry
from services.consensus.api import POLICIES, NodeApi
from services.consensus.domain.contracts.catalogue import Catalogue, standard_catalogue
from services.consensus.domain.ledger.genesis import Genesis, GenesisError
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.domain.messages import ProtocolParameters, ReplicaId
from services.consensus.domain.signer import Sign
from services.consensus.driver import Driver
from services.consensus.epochs import Epochs
from services.consensus.evidence import EvidenceFolder, EvidenceReporter
from services.consensus.finality import FinalityBoard
from services.consensus.intake import Intake
from services.consensus.keys import StateKeyDirectory
from services.consensus.ledger import Ledger
from services.consensus.mempool import Mempool
from services.consensus.metrics import ReplicaMetrics
from services.consensus.own_keys import check_own_keys
from services.consensus.peers import PeerLinks
from services.consensus.repair import Repairs
from services.consensus.settings import Settings
from services.consensus.signing import Admission, Authenticator, signer
from services.consensus.store import ChainStore, StoreOptions
from services.consensus.store.files import SYSTEM_FILES
from services.consensus.submission import Submissions

STOP_GRACE_SECONDS: Final = 2.0
RESEND_MS: Final = 400
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""A block of the largest batch with its receipts."""
REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024
"""The largest that a client sends: 256 KiB of the smallest payloads, each with two signatures and
the path of an envelope, and a last transaction of 1 MiB.
"""
RATE_PER_SECOND: Final = 50_000.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """One replica, put together."""

    settings: Settings
    genesis: Genesis
    provider: GmProvider
    telemetry: Telemetry
    metrics: ReplicaMetrics
    ledger: Ledger
    driver: Driver
    intake: Intake
    links: PeerLinks
    identity: GmTlsIdentity
    finality: FinalityBoard
    repairs: Repairs
    api: NodeApi
    reporter: EvidenceReporter | None


async def serve(settings: Settings, catalogue: Catalogue | None = None) -> None:
    """Run until SIGTERM or SIGINT. If any part fails, the process ends with its error.

    `catalogue`: the contracts that this software carries, unless they are those of the release.
    """
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        parts = _put_together(settings, catalogue or standard_catalogue(), stack)
        nonces = stack.enter_context(FileNonceStore(settings.data_folder / "nonces"))
        if nonces.was_damaged:
            parts.metrics.damaged_files.labels(file="nonces").inc()
        peers = await stack.enter_async_context(open_peers(settings.grpc))
        server = _server(parts, nonces, peers)
        _bind(server, settings)
        count_refusals(parts.identity, parts.telemetry.metrics)
        await parts.links.listen(settings.peers.host, settings.peers.port)
        admin = AdminServer(
            host=settings.admin.host,
            port=settings.admin.port,
            probes=_probes(parts, nonces),
            metrics=parts.telemetry.metrics,
        )
        await stack.enter_async_context(admin)
        await server.start()
        stack.push_async_callback(server.stop, STOP_GRACE_SECONDS)
        _log.info("replica.started", chain=settings.chain_id, replica=settings.replica)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(part.run())
                for part in (parts.driver, parts.intake, parts.links, parts.repairs)
            ]
            if parts.reporter is not None:
                running.append(tasks.create_task(parts.reporter.run()))
            await ended.wait()
            _log.info("replica.stopping")
            await server.stop(STOP_GRACE_SECONDS)
            for task in running:
                task.cancel()


def _put_together(settings: Settings, catalogue: Catalogue, stack: AsyncExitStack) -> Parts:
    provider = open_provider(settings.gm.backend)
    genesis = parse_genesis(settings.genesis_file.read_bytes())
    _check(settings, genesis, catalogue)
    identity = _identity(settings)
    check_own_keys(settings, identity.info.public_key, provider)
    telemetry = open_telemetry(settings.telemetry, domain=settings.domain, service="consensus")
    stack.callback(telemetry.shutdown)
    ledger = _open_ledger(settings, genesis, catalogue, provider)
    stack.callback(ledger.close)
    me, parameters = ReplicaId(settings.replica), _parameters(genesis)
    epochs = Epochs(me, ledger, _signers(settings, provider), parameters, _now_ms)
    _check_membership(settings, epochs.signers, ledger)
    metrics = ReplicaMetrics(telemetry.metrics)
    finality = FinalityBoard(ledger.store.last_certified)
    board = _Wiring()
    links = _links(settings, identity, board)
    evidence = EvidenceFolder(settings.data_folder / "evidence", ledger, SYSTEM_FILES, metrics)
    driver = Driver(
        epochs=epochs,
        evidence=evidence,
        ledger=ledger,
        links=links,
        mempool=Mempool(ledger.was_executed),
        finality=finality,
        metrics=metrics,
        now_ms=_now_ms,
    )
    repairs = Repairs(
        driver=driver, ledger=ledger, links=links, metrics=metrics, verify=provider.verify
    )
    intake = Intake(
        driver=driver,
        ledger=ledger,
        authenticator=Authenticator(parameters.window, provider),
        admission=Admission(genesis.chain_id, provider),
        provider=provider,
        metrics=metrics,
        links=links,
        now_ms=_now_ms,
        repairs=repairs,
    )
    board.intake = intake
    submissions = Submissions(driver, intake, ledger, finality)
    api = NodeApi(
        submissions=submissions,
        ledger=ledger,
        driver=driver,
        finality=finality,
        links=links,
        operations=_operations(genesis, catalogue),
        software_version=version("guqiao"),
        refusals=RpcRefusals(telemetry.metrics),
    )
    return Parts(
        settings,
        genesis,
        provider,
        telemetry,
        metrics,
        ledger,
        driver,
        intake,
        links,
        identity,
        finality,
        repairs,
        api,
        _reporter(settings, evidence, submissions, provider),
    )


def _reporter(
    settings: Settings, evidence: EvidenceFolder, submissions: Submissions, provider: GmProvider
) -> EvidenceReporter | None:
    """Who submits evidence; None where the settings name no identity to do it as."""
    named = settings.identity
    if named is None:
        _log.warning("evidence.not_submitted", why="the settings have no [identity]")
        return None
    key = load_private_key(named.key_file, provider)
    return EvidenceReporter(
        evidence,
        submissions.ledger,
        submissions.submit,
        provider,
        Identity(named.did, named.key_id, named.organisation, key),
        _now_ms,
    )


class _Wiring:
    """Links call the intake, and the intake sends through the links: one of them comes first."""

    intake: Intake

    def on_frame(self, sender: int, frame: bytes) -> None:
        self.intake.on_frame(sender, frame)

    def on_link(self, other: int) -> None:
        self.intake.transactions.on_link(other)

    def on_oversized(self, sender: int, why: str) -> None:
        self.intake.on_oversized(sender, why)


def _open_ledger(
    settings: Settings, genesis: Genesis, catalogue: Catalogue, provider: GmProvider
) -> Ledger:
    # The store's own reserve is a second line: the driver pauses before it is reached.
    options = StoreOptions(reserve_bytes=settings.disk_reserve_bytes // 2)
    store = ChainStore.open(
        settings.data_folder, genesis, replica=settings.replica, options=options
    )
    return Ledger(
        store,
        genesis,
        catalogue,
        provider.verify,
        folder=settings.data_folder,
        reserve_bytes=settings.disk_reserve_bytes,
    )


def _identity(settings: Settings) -> GmTlsIdentity:
    identity = open_identity(settings.gm)
    expected = replica_identity(settings.chain_id, settings.replica)
    if identity.name != expected:
        raise SettingsError(f"gm.certificate is of {identity.name}, this replica is {expected}")
    return identity


def _links(settings: Settings, identity: GmTlsIdentity, board: _Wiring) -> PeerLinks:
    return PeerLinks(
        chain_id=settings.chain_id,
        replica=settings.replica,
        addresses=settings.peers.endpoints(),
        identity=identity,
        on_frame=board.on_frame,
        on_link=board.on_link,
        on_oversized=board.on_oversized,
    )


def _server(parts: Parts, nonces: FileNonceStore, peers: PeerLookup | None) -> GrpcServer:
    settings = parts.settings
    server = build_server(
        domain=settings.chain_id,
        service=f"consensus/{settings.replica}",
        policies=POLICIES,
        keys=StateKeyDirectory(parts.ledger),
        nonces=nonces,
        verifier=parts.provider,
        telemetry=parts.telemetry,
        peers=peers,
        limits=ServerLimits(
            message_bytes_max=REQUEST_BYTES_MAX,
            answer_bytes_max=ANSWER_BYTES_MAX,
            concurrent_rpcs_max=settings.grpc.concurrent_rpcs_max,
            calls_per_identity_max=settings.grpc.calls_per_identity_max,
            first_message_seconds=settings.grpc.first_message_seconds,
            rate_per_second=RATE_PER_SECOND,
            rate_burst=int(RATE_PER_SECOND),
        ),
        development=settings.development,
    )
    add_NodeServiceServicer_to_server(parts.api, server)
    return server


def _bind(server: GrpcServer, settings: Settings) -> None:
    server.add_insecure_port(settings.grpc.address)


def _probes(parts: Parts, nonces: FileNonceStore) -> Probes:
    async def takes_part() -> str | None:
        if parts.driver.votes:
            return None
        here, due = parts.ledger.store.last_certified, parts.repairs.due
        heights = "" if due is None else f", height {here} of {max(here, due)}"
        return f"the replica does not vote: {parts.driver.pause}{heights}"

    async def has_quorum() -> str | None:
        present = parts.driver.replica.replica_set
        members = {*parts.links.connected(), parts.driver.me} - set(present.jailed)
        quorum, reachable = present.quorum, sum(number < present.size for number in members)
        return None if reachable >= quorum else f"{reachable} replicas linked, {quorum} needed"

    async def is_level() -> str | None:
        return "it fetches blocks that the others have" if parts.driver.catching_up else None

    ready = {
        "votes": takes_part,
        "certificate": certificate_check(parts.identity),
        "quorum": has_quorum,
        "level": is_level,
        "nonces": nonces.trouble,
    }
    return Probes(live={}, started={}, ready=ready)


def _signers(settings: Settings, provider: GmProvider) -> dict[bytes, Sign]:
    """This node's vote keys: the present one, and the one that governance may replace it by."""
    files = [settings.vote_key_file, settings.next_vote_key_file]
    keys = [load_private_key(file, provider) for file in files if file is not None]
    return {key.public_key: signer(provider, key) for key in keys}


def _check_membership(settings: Settings, signers: Mapping[bytes, Sign], ledger: Ledger) -> None:
    """A wrong key must not go unnoticed: only a node that says so runs without ever having voted.
    One whose key was removed or jailed follows the chain on.
    """
    if settings.learner or ledger.was_ever_member(settings.replica, signers):
        return
    raise SettingsError(
        f"the vote key is not that of replica {settings.replica} in any set of the chain"
        " (a member to come, and one of a later set whose folder is empty, sets learner)"
    )


def _check(settings: Settings, genesis: Genesis, catalogue: Catalogue) -> None:
    if genesis.chain_id != settings.chain_id:
        raise SettingsError(f"the genesis is of {genesis.chain_id}, not of {settings.chain_id}")
    if genesis.historic_import and settings.refuse_historic_import:
        raise SettingsError(
            "the genesis allows historic_import, which refuse_historic_import forbids here"
        )
    known, needed = len(settings.peers.addresses), genesis.replica_set.size
    if known < needed or settings.replica >= known:
        raise SettingsError(
            f"peers.addresses must name at least {max(needed, settings.replica + 1)} replicas"
        )
    _check_contracts(genesis, catalogue)


def _check_contracts(genesis: Genesis, catalogue: Catalogue) -> None:
    """This software must carry all contracts that the genesis names."""
    lacked = catalogue.missing(genesis)
    if lacked is not None:
        raise NotFoundError("CONTRACT_UNKNOWN", contract=f"{lacked.name} version {lacked.version}")


def _parameters(genesis: Genesis) -> ProtocolParameters:
    shared = genesis.parameters
    try:
        return ProtocolParameters(
            window=shared.window,
            timeout_ms=shared.view_timeout_ms,
            timeout_max_ms=shared.view_timeout_max_ms,
            heartbeat_ms=shared.heartbeat_ms,
            resend_ms=RESEND_MS,
            block_time_bound_ms=shared.clock_bound_ms,
        )
    except ValueError as error:
        raise GenesisError("GENESIS_INVALID", "parameters", str(error)) from error


def _operations(genesis: Genesis, catalogue: Catalogue) -> tuple[str, ...]:
    active = (
        (entry.name, catalogue.find(entry.name, entry.version)) for entry in genesis.contracts
    )
    names = [f"{name}.{method}" for name, found in active if found for method in found.methods()]
    return tuple(sorted(names))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
