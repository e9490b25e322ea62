"""From a proof that a replica lied to a transaction that names it: kept first, then submitted.

What the core found is a file before any later effect is performed, so it survives a restart; one of
each replica and epoch is kept, and none once the chain knows the key as guilty. Every replica that
saw the lie submits it under its own identity; the first to be ordered takes effect, the others
change nothing.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.transactions import ChainPosition, Identity, build_transaction
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import ServiceError
from services.consensus.domain.contracts.evidence import METHOD, NAME, key_record
from services.consensus.domain.effects import Equivocation
from services.consensus.domain.ledger.host import read_json
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.statements import encode_statement
from services.consensus.ledger import Ledger
from services.consensus.store.files import SYSTEM_FILES

RETRY_SECONDS: Final = 2.0
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
    """The proofs that are not on chain yet, a file each: the body of the transaction."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._settled: set[str] = set()
        self.added = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, epoch: int, offence: Equivocation) -> None:
        """Write a proof durably, unless one of its signer is here or the chain knows already."""
        signer = offence.first.replica
        name = f"{epoch}-{signer}.json"
        path = self._folder / name
        if name in self._settled or path.exists() or self.is_known(epoch, signer):
            return
        body: Json = {
            "epoch": epoch,
            "replica": signer,
            "first": encode_statement(offence.first).hex(),
            "second": encode_statement(offence.second).hex(),
        }
        SYSTEM_FILES.replace_durably(path, canonical_json(body))
        self.added.set()

    def pending(self) -> dict[str, Mapping[str, Json]]:
        """What is still to be submitted, by file name."""
        return {
            path.name: json.loads(path.read_bytes()) for path in sorted(self._folder.glob("*.json"))
        }

    def settle(self, name: str) -> None:
        """The chain has judged it."""
        self._settled.add(name)
        (self._folder / name).unlink(missing_ok=True)

    def is_known(self, epoch: int, replica: int) -> bool:
        """Whether the chain knows the key of this replica as guilty."""
        members = next(each for each in self._ledger.sets() if each.epoch == epoch).members
        key = contract_key(NAME, key_record(members[replica].public_key))
        with self._ledger.store.state_reader() as state:
            return read_json(state, key) is not None


@dataclass(frozen=True, slots=True)
class EvidenceReporter:
    """Submits what the folder holds until the chain has judged it. `run` lasts until cancelled."""

    folder: EvidenceFolder
    ledger: Ledger
    submit: Submit
    provider: GmProvider
    identity: Identity
    now_ms: Callable[[], int]

    async def run(self) -> None:
        """Submit what was left from before, then what is added; again while it is not final."""
        while True:
            self.folder.added.clear()
            for name, body in self.folder.pending().items():
                await self._report(name, body)
            timeout = RETRY_SECONDS if self.folder.pending() else None
            try:
                await asyncio.wait_for(self.folder.added.wait(), timeout)
            except TimeoutError:
                continue

    async def _report(self, name: str, body: Mapping[str, Json]) -> None:
        epoch, replica = body["epoch"], body["replica"]
        assert isinstance(epoch, int)
        assert isinstance(replica, int)
        if self.folder.is_known(epoch, replica):
            self.folder.settle(name)
            return
        try:
            async with asyncio.timeout(SUBMIT_SECONDS_MAX):
                result = await self.submit(self._transaction(body), wait_final=True)
        except (ServiceError, TimeoutError) as error:
            _log.warning("evidence.waits", replica=replica, epoch=epoch, why=str(error))
            return
        assert result is not None, "it waited for the final result"
        self.folder.settle(name)
        _log.warning("evidence.submitted", replica=replica, epoch=epoch, code=result.code)

    def _transaction(self, body: Mapping[str, Json]) -> SignedTransaction:
        """The request id follows from the proof: after a restart it is the same request."""
        header = self.ledger.header(self.ledger.store.last_certified)
        time_ms = max(header.block_time_ms, self.now_ms())
        position = ChainPosition(header.chain_id, header.height, header.hash(), time_ms)
        request_id = str(uuid.UUID(bytes=sm3(canonical_json(dict(body)))[:16]))
        return build_transaction(
            self.provider,
            self.identity,
            position,
            contract=NAME,
            method=METHOD,
            body=body,
            request_id=request_id,
        )
