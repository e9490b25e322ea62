"""From a proof that a replica lied to a transaction that names it: kept first, then submitted.

What the core found is a file before any later effect is performed, so it survives a restart; one of
each replica, epoch and kind is kept, and none once the chain knows the key as guilty of it. What is
larger than a transaction carries is named in the log alone. Every replica that
saw the lie submits it under its own identity; the first to be ordered takes effect, the others
change nothing. A file that is not as it was written, or of another chain, is set aside and stops
nothing.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.transactions import ChainPosition, Identity, build_transaction
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError, digest
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import ServiceError
from services.consensus.chain_sets import ChainSets
from services.consensus.domain.contracts.evidence import NAME, Offence, key_record
from services.consensus.domain.effects import Equivocation, Evidence, InvalidBatch, InvalidNewView
from services.consensus.domain.faults import PROOF_BYTES_MAX, batch_proof, new_view_proof
from services.consensus.domain.ledger.host import read_json
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.statements import encode_statement
from services.consensus.ledger import Ledger
from services.consensus.metrics import ReplicaMetrics
from services.consensus.store import FatalStorageError, FileOperations
from services.consensus.store.errors import raise_if_full

FILE_TAG: Final = "guqiao/evidence-file/1"
FILE_BYTES_MAX: Final = 2 * PROOF_BYTES_MAX + 1_024
RETRY_SECONDS: Final = 2.0
RETRY_SECONDS_MAX: Final = 600.0
SUBMIT_SECONDS_MAX: Final = 30.0

_log = structlog.get_logger(__name__)


class Submit(Protocol):
    """`Submissions.submit`."""

    def __call__(
        self, transaction: SignedTransaction, *, wait_final: bool
    ) -> Awaitable[ledger_pb2.TransactionResult | None]:
        """The final result; raises the error that refused it."""
        ...


class EvidenceFolder:
    """The proofs that are not on chain yet, a file each: the body of the transaction and a checksum
    over it, the file's name and the chain.
    """

    def __init__(
        self, folder: Path, chain: ChainSets, files: FileOperations, metrics: ReplicaMetrics
    ) -> None:
        self._folder = folder
        self._chain = chain
        self._files = files
        self._metrics = metrics
        self._settled: set[str] = set()
        self.added = asyncio.Event()
        self._told: set[str] = set()
        self._kept: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, replica_set: ReplicaSet, evidence: Evidence) -> bool:
        """Write a proof durably, unless one of its kind is here or the chain knows already. Where
        the disk is full the log alone says it. True for the first of its kind since the start: who
        breaks a rule a thousand times a second fills no log.
        """
        name = _file_name(replica_set.epoch, evidence.replica, kind_of(evidence))
        is_first = name not in self._told
        self._told.add(name)
        if name not in self._kept and name not in self._settled:
            self._keep(name, replica_set, evidence)
        return is_first

    def _keep(self, name: str, replica_set: ReplicaSet, evidence: Evidence) -> None:
        epoch, culprit, offence = replica_set.epoch, evidence.replica, kind_of(evidence)
        if self.is_known(epoch, culprit, offence) or self._read(name) is not None:
            self._kept.add(name)
            return
        parts = _parts(evidence, replica_set)
        size_max = min(PROOF_BYTES_MAX, self._chain.genesis.parameters.batch_bytes_max // 3)
        if parts is None or any(len(part) > size_max for part in parts.values()):
            _log.warning("evidence.too_large", replica=culprit, epoch=epoch, offence=offence.name)
            return
        body: dict[str, Json] = {
            "epoch": epoch,
            "replica": culprit,
            **{part: content.hex() for part, content in parts.items()},
        }
        content = canonical_json(
            {**body, "checksum": checksum_of(body, name, self._chain.genesis.hash())}
        )
        try:
            self._files.replace_durably(self._folder / name, content)
        except OSError as error:
            _log.critical("evidence.not_kept", file=name, why=str(error))
            return
        self._kept.add(name)
        self.added.set()

    def pending(self) -> dict[str, Mapping[str, Json]]:
        """What is still to be submitted, by file name; what is damaged is set aside."""
        found = {path.name: self._read(path.name) for path in sorted(self._folder.glob("*.json"))}
        return {name: body for name, body in found.items() if body is not None}

    def _read(self, name: str) -> Mapping[str, Json] | None:
        """The body in this file; None where there is none that is whole."""
        path = self._folder / name
        if not path.exists():
            return None
        try:
            return decode_body(path.read_bytes(), name, self._chain.genesis.hash())
        except (OSError, MalformedError):
            self._set_aside(path)
            return None

    def _set_aside(self, path: Path) -> None:
        """Kept for whoever looks into it, the last of its name; it is submitted no more."""
        aside = path.with_name(f"{path.name}.damaged")
        self._kept.discard(path.name)
        try:
            self._files.rename(path, aside)
        except OSError as error:
            raise_if_full(error)
            raise FatalStorageError(f"renaming {path.name}", str(error)) from error
        self._metrics.damaged_files.labels(file="evidence").inc()
        _log.critical("evidence.damaged", code="STORAGE_EVIDENCE_DAMAGED", kept=str(aside))

    def settle(self, name: str) -> None:
        """The chain has judged it."""
        self._settled.add(name)
        (self._folder / name).unlink(missing_ok=True)

    def is_known(self, epoch: int, replica: int, offence: Offence) -> bool:
        """Whether the chain knows the key of this replica as guilty of it; an epoch that has not
        come yet here is unknown.
        """
        found = [each.members for each in self._chain.sets() if each.epoch == epoch]
        if not found:
            return False
        (members,) = found
        key = contract_key(NAME, key_record(members[replica].public_key, offence))
        with self._chain.store.state_reader() as state:
            return read_json(state, key) is not None


def decode_body(data: bytes, name: str, genesis_hash: bytes) -> Mapping[str, Json]:
    """The body in the file `name` of the chain's; raises `MalformedError` for any other bytes."""
    try:
        body = parse_json_strict(data, depth_max=1, size_max=FILE_BYTES_MAX)
    except JsonError as error:
        raise MalformedError(str(error)) from None
    if isinstance(body, dict):
        said = body.pop("checksum", None)
        if said == checksum_of(body, name, genesis_hash):
            return body
    raise MalformedError("not what was written under this name")


def checksum_of(body: Mapping[str, Json], name: str, genesis_hash: bytes) -> str:
    """What stands beside a body: it is of this name, on this chain."""
    return digest(FILE_TAG, genesis_hash, name.encode(), canonical_json(dict(body))).hex()


def kind_of(evidence: Evidence) -> Offence:
    """What the chain will judge."""
    match evidence.offence:
        case Equivocation():
            return Offence.EQUIVOCATION
        case InvalidBatch():
            return Offence.INVALID_BATCH
        case InvalidNewView():
            return Offence.INVALID_NEW_VIEW


def _parts(evidence: Evidence, replica_set: ReplicaSet) -> Mapping[str, bytes] | None:
    """What the transaction's body says in hex; None where nothing that small shows the fault."""
    match evidence.offence:
        case Equivocation(first, second):
            return {"first": encode_statement(first), "second": encode_statement(second)}
        case InvalidBatch(pre_prepare, _, index):
            if index is None:
                return None
            return {"proof": batch_proof(pre_prepare, index, replica_set).encode()}
        case InvalidNewView(new_view):
            return {"proof": new_view_proof(new_view)}


def _file_name(epoch: int, replica: int, offence: Offence) -> str:
    kind = "" if offence is Offence.EQUIVOCATION else f"-{offence.name.lower()}"
    return f"{epoch}-{replica}{kind}.json"


def _offence_of_file(name: str) -> Offence:
    kind = name.removesuffix(".json").split("-")[2:]
    return Offence[kind[0].upper()] if kind else Offence.EQUIVOCATION


@dataclass(frozen=True, slots=True)
class _Waiting:
    """How long a refused proof waits, and until when by the loop's clock."""

    seconds: float
    until: float


@dataclass(frozen=True, slots=True)
class EvidenceReporter:
    """Submits what the folder holds until the chain holds it. `run` lasts until cancelled."""

    folder: EvidenceFolder
    ledger: Ledger
    submit: Submit
    provider: GmProvider
    identity: Identity
    now_ms: Callable[[], int]
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    async def run(self) -> None:
        """Submit what was left from before, then what is added; again until the chain holds it."""
        while True:
            self.folder.added.clear()
            for name, body in self.folder.pending().items():
                if self._seconds_left(name) <= 0:
                    await self._report(name, body)
            due = min(map(self._seconds_left, self.folder.pending()), default=None)
            timeout = None if due is None else max(due, RETRY_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.folder.added.wait()

    def _seconds_left(self, name: str) -> float:
        waiting = self._waiting.get(name)
        return 0.0 if waiting is None else waiting.until - asyncio.get_running_loop().time()

    async def _report(self, name: str, body: Mapping[str, Json]) -> None:
        epoch, replica = body["epoch"], body["replica"]
        assert isinstance(epoch, int)
        assert isinstance(replica, int)
        offence = _offence_of_file(name)
        if all(each.epoch != epoch for each in self.ledger.sets()):
            return  # The blocks that tell of this epoch are not here again yet.
        if self.folder.is_known(epoch, replica, offence):
            self.folder.settle(name)
            return
        try:
            async with asyncio.timeout(SUBMIT_SECONDS_MAX):
                transaction = self._transaction(offence, body, again=name in self._waiting)
                result = await self.submit(transaction, wait_final=True)
        except (ServiceError, TimeoutError) as error:
            _log.warning("evidence.waits", replica=replica, epoch=epoch, why=str(error))
            return
        assert result is not None, "it waited for the final result"
        if result.code and not self.folder.is_known(epoch, replica, offence):
            self._wait(name)
            _log.error("evidence.refused", replica=replica, epoch=epoch, code=result.code)
            return
        self.folder.settle(name)
        self._waiting.pop(name, None)
        _log.warning("evidence.submitted", replica=replica, epoch=epoch)

    def _wait(self, name: str) -> None:
        """A refused one is asked again, later each time: who may not submit today may tomorrow."""
        before = self._waiting.get(name)
        seconds = RETRY_SECONDS if before is None else min(2 * before.seconds, RETRY_SECONDS_MAX)
        self._waiting[name] = _Waiting(seconds, asyncio.get_running_loop().time() + seconds)

    def _transaction(
        self, offence: Offence, body: Mapping[str, Json], *, again: bool
    ) -> SignedTransaction:
        """The request id follows from the proof: after a restart it is the same request. One that
        was refused has its answer for ever, so it is asked `again` as another; what the chain holds
        already it does not record twice.
        """
        header = self.ledger.header(self.ledger.store.last_certified)
        time_ms = max(header.block_time_ms, self.now_ms())
        position = ChainPosition(header.chain_id, header.height, header.hash(), time_ms)
        first_id = uuid.UUID(bytes=sm3(canonical_json(dict(body)))[:16])
        request_id = str(uuid.uuid4() if again else first_id)
        return build_transaction(
            self.provider,
            self.identity,
            position,
            contract=NAME,
            method=offence.value,
            body=body,
            request_id=request_id,
        )
