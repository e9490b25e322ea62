"""What the simulated clients want and what comes of it: real transactions, really executed.

Admission and execution are the production's. Executing is a function of parent and batch, so it is
done once for all replicas of a run that keep their chain in memory; where a replica keeps it in the
production's store it executes by itself, on its own state, and must come to the same header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import Restart
from guqiao_sdk.proof.transaction import Payload, SignedTransaction, transaction_sign_bytes
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.host import Host, Method
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.replica_sets import GOVERNANCE
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.execution import BlockResult, execute_block
from services.consensus.domain.ledger.genesis import (
    ContractActivation,
    Genesis,
    ProtocolParameters,
    genesis_header,
    genesis_state,
)
from services.consensus.domain.ledger.keys import EXECUTED_PREFIX, executed_ids
from services.consensus.domain.ledger.state import StateReader
from services.consensus.domain.ledger.state_tree import apply, changes_of
from tests.simulation.keys import CHAIN, OUTSIDER, public_key, sign_with, verify

START_MS: Final = 1_000_000
CLIENTS: Final = 4
GOVERNORS_FROM: Final = 500
"""The governor of a seat's entity is the client of this number and the seat's."""
ORGANISATION: Final = "did:rem:sim:market"
EXPIRES_HEIGHTS: Final = 900
EXPIRES_MS: Final = 400_000
_FOREVER_MS: Final = 2**60


@dataclass(frozen=True, slots=True)
class Request:
    """What one client wants once, whatever number of transactions it takes."""

    client: int
    number: int

    @property
    def id(self) -> str:
        """The request id: what the ledger binds an outcome to."""
        return f"{self.client:08x}-0000-4000-8000-{self.number:012x}"


def did(client: int) -> str:
    """The client's identity."""
    return f"did:rem:sim:client-{client}"


def entity(seat: int) -> str:
    """The legal entity behind a seat."""
    return f"did:rem:sim:entity-{seat}"


def governor_key(seat: int) -> bytes:
    """The key of that entity's governor."""
    return _client_key(GOVERNORS_FROM + seat)


def transaction(
    request: Request,
    *,
    height: int,
    time_ms: int,
    chain: str = CHAIN,
    body: int = 0,
    signer: int | None = None,
) -> bytes:
    """The request as a signed transaction that expires well after `height` and `time_ms`.

    Another `body` or `signer` than the standard one is a client's fraud.
    """
    return _signed(
        Payload(
            chain=chain,
            maker=(did(request.client), "k1"),
            checker=None,
            organisation=ORGANISATION,
            request_id=request.id,
            expires_height=height + EXPIRES_HEIGHTS,
            expires_time_ms=time_ms + EXPIRES_MS,
            after=None,
            contract="tally",
            method="add",
            business_time=None,
            body={"number": request.number, "amount": body},
        ),
        _client_key(request.client),
        _client_key(request.client if signer is None else signer),
    )


def governance(
    seat: int, number: int, method: str, body: Mapping[str, Json], *, height: int, time_ms: int
) -> bytes:
    """What the governor of a seat's entity signs; `number` makes the request another one."""
    key = _client_key(GOVERNORS_FROM + seat)
    payload = Payload(
        chain=CHAIN,
        maker=(did(GOVERNORS_FROM + seat), "k1"),
        checker=None,
        organisation=entity(seat),
        request_id=Request(GOVERNORS_FROM + seat, number).id,
        expires_height=height + EXPIRES_HEIGHTS,
        expires_time_ms=time_ms + EXPIRES_MS,
        after=None,
        contract=GOVERNANCE,
        method=method,
        business_time=None,
        body=body,
    )
    return _signed(payload, key, key)


def _signed(payload: Payload, key: bytes, signer: bytes) -> bytes:
    encoded = payload.to_bytes()
    signature = sign_with(signer)(transaction_sign_bytes(encoded))
    return SignedTransaction(encoded, ((key, signature),)).encode()


class TallyContract:
    """Counts; the order of the requests shows in the state."""

    name = "tally"
    version = 1

    def methods(self) -> Mapping[str, Method]:
        """The one thing to do."""
        return {"add": _add}


def _add(host: Host, body: Mapping[str, Json]) -> None:
    total = host.get("total") or 0
    assert isinstance(total, int)
    host.put("total", total + 1)
    host.put(f"last/{host.sender().did}", [total, dict(body)])


CATALOGUE: Final = Catalogue([TallyContract(), GovernanceContract()])
OLD_CATALOGUE: Final = Catalogue([GovernanceContract()])
"""What software carried before the counting contract was written."""


def genesis_of(replica_set: ReplicaSet, *, governed: bool = False) -> Genesis:
    """A chain with the counting contract and its clients, and perhaps with governors."""
    governors = replica_set.size if governed else 0
    shared = ProtocolParameters(
        window=4,
        batch_transactions_max=500,
        batch_bytes_max=1_048_576,
        heartbeat_ms=600,
        view_timeout_ms=400,
        view_timeout_max_ms=3_200,
        clock_bound_ms=2_000,
        snapshot_interval=4 if governed else 100,
    )
    return Genesis(
        replica_set=replica_set,
        parameters=shared,
        genesis_time_ms=START_MS,
        historic_import=False,
        destination=None,
        contracts=(
            ContractActivation("tally", 1, 0),
            *([ContractActivation(GOVERNANCE, 1, 0)] if governed else []),
        ),
        identities=(
            *(_identity(client, ORGANISATION) for client in range(CLIENTS)),
            *(
                _identity(GOVERNORS_FROM + seat, entity(seat), roles.GOVERNOR)
                for seat in range(governors)
            ),
        ),
        remote_chains=(),
    )


def verify_many(items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """Judge clients' signatures; always keyed hashes."""
    return [verify(*item) for item in items]


@dataclass(frozen=True)
class State:
    """The state after a block, and the pages of its tree."""

    entries: Mapping[bytes, bytes]
    ids: frozenset[bytes]
    pages: Mapping[bytes, bytes]
    version: int | None

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The entries under `prefix`, by bytes of the key."""
        return ((k, self.entries[k]) for k in sorted(self.entries) if k.startswith(prefix))

    def executed(self, transaction_id: bytes) -> bool:
        """Whether the id was executed."""
        return transaction_id in self.ids


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A block, by whichever replica it was executed first."""

    header: BlockHeader
    batch: Batch
    result: BlockResult


class Execution:
    """Executes batches on parents, each pair once."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.root = genesis_header(genesis)
        entries = genesis_state(genesis)
        none: dict[bytes, bytes] = {}
        update = apply(none.__getitem__, None, changes_of(entries), 0)
        first = State(entries, frozenset(), update.pages, update.version)
        self._states = {self.root.hash(): first}
        self._blocks: dict[tuple[bytes, ...], ExecutedBlock] = {}

    def state(self, header_hash: bytes) -> State:
        """The state after a block that was executed here."""
        return self._states[header_hash]

    def execute(
        self, parent: BlockHeader, batch: Batch, restarts: Sequence[Restart] = ()
    ) -> ExecutedBlock:
        """The block that `batch` makes after `parent`, where `restarts` go on from."""
        place = (parent.hash(), batch.digest(), *(each.encode() for each in restarts))
        block = self._blocks.get(place)
        if block is None:
            block = self._blocks[place] = self._execute(parent, batch, restarts)
        return block

    def result(
        self,
        state: StateReader,
        parent: BlockHeader,
        batch: Batch,
        restarts: Sequence[Restart] = (),
    ) -> BlockResult:
        """Execute a batch on a state, whoever keeps it."""
        return execute_block(
            state,
            genesis=self.genesis,
            catalogue=CATALOGUE,
            parent=parent,
            batch=batch,
            transactions=[read(encoded) for encoded in batch.transactions],
            verify=verify,
            restarts=restarts,
        )

    def _execute(
        self, parent: BlockHeader, batch: Batch, restarts: Sequence[Restart]
    ) -> ExecutedBlock:
        before = self._states[parent.hash()]
        result = self.result(before, parent, batch, restarts)
        entries = dict(before.entries)
        ids = set(before.ids)
        for key, value in result.write_set.items():
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
                if key.startswith(EXECUTED_PREFIX):
                    ids.update(executed_ids(value))
        changes = changes_of(result.write_set)
        update = apply(before.pages.__getitem__, before.version, changes, result.height)
        header = result.header(update.root)
        pages = {**before.pages, **update.pages}
        for key in update.stale:
            del pages[key]
        self._states[header.hash()] = State(entries, frozenset(ids), pages, update.version)
        return ExecutedBlock(header, batch, result)


@lru_cache(maxsize=4_096)
def forgery(encoded: bytes) -> str | None:
    """Why a transaction is not what a client signed for this chain, or None."""
    admitted = read(encoded)
    if admitted.payload.chain != CHAIN:
        return "a transaction of another chain"
    signed = transaction_sign_bytes(admitted.signed.payload)
    held = all(verify(key, signed, signature) for key, signature in admitted.signed.signatures)
    return None if held else "a transaction that its signature does not cover"


read = lru_cache(maxsize=4_096)(read_transaction)


def _client_key(client: int) -> bytes:
    return public_key(OUTSIDER + 1_000 + client)


def _identity(client: int, organisation: str, *held: str) -> IdentityRecord:
    key = KeyRecord(_client_key(client), 0, _FOREVER_MS, revoked=False)
    return IdentityRecord(did(client), organisation, frozenset(held), True, {"k1": key})
