"""Genesis: what all replicas of a chain must agree on before its first block.

The genesis file is strict JSON with exactly the members below. Its hash is what verifiers trust:
block 0 has no certificate. A set with fewer than four replicas, of one legal entity or with one
entity holding a quorum is refused here (G2-07-2, G2-16-3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Final

from guqiao_sdk.proof.batch import BATCH_BYTES_MAX, BATCH_TRANSACTIONS_MAX, Batch
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.header import ZERO_HASH, BlockHeader
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import RestartAuthorities
from services.consensus.domain.contracts.calendar import NAME as CALENDAR
from services.consensus.domain.contracts.calendar import first_years
from services.consensus.domain.contracts.deployed import CONTRACTS, first_contract_records
from services.consensus.domain.contracts.identity_record import IdentityRecord, identity_key
from services.consensus.domain.contracts.key_uses import (
    IDENTITY,
    KeyUse,
    public_keys,
    use_key,
    use_of,
)
from services.consensus.domain.contracts.replica_sets import GOVERNANCE, first_records
from services.consensus.domain.ledger.keys import GENESIS_KEY, PARAMETERS, contract_key
from services.consensus.domain.ledger.state_tree import apply, changes_of
from services.consensus.domain.messages import WINDOW_MAX

FORMAT: Final = "guqiao-genesis/1"
EPOCH_FIRST: Final = 0


class GenesisError(ValueError):
    """A genesis that the rules refuse. `code` names the rule, `field` the member at fault."""

    def __init__(self, code: str, field: str, detail: str) -> None:
        super().__init__(f"{code}: {field}: {detail}")
        self.code = code
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ProtocolParameters:
    """Numbers that all replicas share; never a local setting. Bounds in `PARAMETER_BOUNDS`."""

    window: int
    batch_transactions_max: int
    batch_bytes_max: int
    heartbeat_ms: int
    view_timeout_ms: int
    view_timeout_max_ms: int
    clock_bound_ms: int
    snapshot_interval: int

    def to_json(self) -> dict[str, Json]:
        """The member `parameters` of the genesis file."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


PARAMETER_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "window": (1, WINDOW_MAX),
    "batch_transactions_max": (1, BATCH_TRANSACTIONS_MAX),
    "batch_bytes_max": (65_536, BATCH_BYTES_MAX),
    "heartbeat_ms": (100, 3_600_000),
    "view_timeout_ms": (100, 600_000),
    "view_timeout_max_ms": (100, 3_600_000),
    "clock_bound_ms": (100, 600_000),
    "snapshot_interval": (1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class ContractActivation:
    """Version `version` of contract `name` is executed from `from_height` on.

    `parameters` belong to the contract's first version and are written into its state at genesis.
    """

    name: str
    version: int
    from_height: int
    parameters: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """An entry of the member `contracts`."""
        entry: dict[str, Json] = {
            "name": self.name,
            "version": self.version,
            "from_height": self.from_height,
        }
        return {**entry, "parameters": dict(self.parameters)} if self.parameters else entry


@dataclass(frozen=True, slots=True)
class RemoteChain:
    """What the light client starts from for another chain."""

    chain_id: str
    genesis_hash: bytes
    replica_set: ReplicaSet
    restart_authorities: RestartAuthorities | None = None

    def to_json(self) -> dict[str, Json]:
        """An entry of the member `remote_chains`."""
        return {
            **_authorities_to_json(self.restart_authorities),
            "chain_id": self.chain_id,
            "genesis_hash": self.genesis_hash.hex(),
            "epoch": self.replica_set.epoch,
            "replicas": _replicas_to_json(self.replica_set),
        }


@dataclass(frozen=True)
class Genesis:
    """A checked genesis (`genesis_json.parse_genesis` reads it from bytes)."""

    replica_set: ReplicaSet
    parameters: ProtocolParameters
    genesis_time_ms: int
    historic_import: bool
    destination: str | None
    contracts: tuple[ContractActivation, ...]
    identities: tuple[IdentityRecord, ...]
    remote_chains: tuple[RemoteChain, ...]
    restart_authorities: RestartAuthorities | None = None
    """Who, with the entities that stay, may restart the chain when its quorum is lost; None: nobody
    ever can."""

    @property
    def chain_id(self) -> str:
        """The chain's id: it stands in every signed byte string."""
        return self.replica_set.chain_id

    @property
    def epoch(self) -> int:
        """The epoch that begins with this genesis."""
        return self.replica_set.epoch

    def to_json(self) -> dict[str, Json]:
        """The genesis file's members."""
        return {
            **_authorities_to_json(self.restart_authorities),
            "format": FORMAT,
            "chain_id": self.chain_id,
            "epoch": self.epoch,
            "genesis_time_ms": self.genesis_time_ms,
            "historic_import": self.historic_import,
            "destination": self.destination,
            "replicas": _replicas_to_json(self.replica_set),
            "parameters": self.parameters.to_json(),
            "contracts": [contract.to_json() for contract in self.contracts],
            "identities": [_identity_to_json(identity) for identity in self.identities],
            "remote_chains": [remote.to_json() for remote in self.remote_chains],
        }

    def to_bytes(self) -> bytes:
        """The genesis file in its one canonical spelling."""
        return canonical_json(self.to_json())

    @cached_property
    def _hash(self) -> bytes:
        return digest("guqiao/genesis/1", self.to_bytes())

    def hash(self) -> bytes:
        """What trust files and data folders name the network by, 32 bytes."""
        return self._hash

    def key_uses(self) -> list[tuple[str, bytes, KeyUse]]:
        """Every key that the file names for this chain: the member it stands in, and its use."""
        authorities = self.restart_authorities
        found = [
            (f"replicas[{member.replica}].vote_key", member.public_key, KeyUse.VOTE)
            for member in self.replica_set.members
        ]
        for name in () if authorities is None else ("csrc", "province"):
            key: bytes = getattr(authorities, name)
            found.append((f"restart_authorities.{name}", key, KeyUse.RESTART))
        for index, identity in enumerate(self.identities):
            field = f"identities[{index}].keys"
            found.extend((field, key, use_of(identity)) for key in public_keys(identity))
        return found

    def active_version(self, name: str, height: int) -> int | None:
        """Return the version of contract `name` that is executed at `height`, or None."""
        versions = [
            (activation.from_height, activation.version)
            for activation in self.contracts
            if activation.name == name and activation.from_height <= height
        ]
        return max(versions)[1] if versions else None


def genesis_state(genesis: Genesis) -> dict[bytes, bytes]:
    """Return the state at height 0, by bytes of the key."""
    state = {GENESIS_KEY: canonical_json(genesis.hash().hex())}
    common = common_parameters(genesis)
    for activation in genesis.contracts:
        key = contract_key(activation.name, PARAMETERS)
        if key not in state:
            state[key] = canonical_json({**activation.parameters, **common})
    for contract, records in _first_records(genesis).items():
        for name, value in records.items():
            state[contract_key(contract, name)] = canonical_json(value)
    for identity in genesis.identities:
        state[contract_key(IDENTITY, identity_key(identity.did))] = canonical_json(
            identity.to_json()
        )
    for _, public_key, use in genesis.key_uses():
        state[contract_key(IDENTITY, use_key(public_key))] = canonical_json(use.value)
    return dict(sorted(state.items()))


def _first_records(genesis: Genesis) -> dict[str, Mapping[str, Json]]:
    """What contracts find in their state from the start, beside their parameters."""
    records: dict[str, Mapping[str, Json]] = {}
    names = [activation.name for activation in genesis.contracts]
    if GOVERNANCE in names:
        records[GOVERNANCE] = first_records(genesis.replica_set, genesis.parameters.window)
    if CONTRACTS in names:
        parameters = genesis.contracts[names.index(CONTRACTS)].parameters
        records[CONTRACTS] = first_contract_records(names, parameters)
    if CALENDAR in names:
        records[CALENDAR] = first_years(genesis.contracts[names.index(CALENDAR)].parameters)
    return records


def genesis_header(genesis: Genesis) -> BlockHeader:
    """Return the header of block 0. It has no certificate: trust in it is the genesis hash."""
    batch = Batch(genesis.genesis_time_ms, ())
    pages: dict[bytes, bytes] = {}
    update = apply(pages.__getitem__, None, changes_of(genesis_state(genesis)), 0)
    return BlockHeader(
        chain_id=genesis.chain_id,
        epoch=genesis.epoch,
        height=0,
        parent=ZERO_HASH,
        batch_digest=batch.digest(),
        block_time_ms=batch.block_time_ms,
        transactions_root=batch.transactions_root(),
        receipts_root=merkle_root(()),
        state_root=update.root,
        next_set_hash=genesis.replica_set.hash(),
    )


def common_parameters(genesis: Genesis) -> dict[str, Json]:
    """What every contract finds under `parameters`, beside its own."""
    return {
        "chain_id": genesis.chain_id,
        "historic_import": genesis.historic_import,
        "destination": genesis.destination,
        "remote_chains": [remote.to_json() for remote in genesis.remote_chains],
    }


COMMON_PARAMETERS: Final = ("chain_id", "historic_import", "destination", "remote_chains")
"""Names that a contract's own parameters may not use."""


def _authorities_to_json(authorities: RestartAuthorities | None) -> dict[str, Json]:
    """Left out where nobody is named, so that a genesis has one spelling."""
    return {} if authorities is None else {"restart_authorities": authorities.to_json()}


def _replicas_to_json(replica_set: ReplicaSet) -> list[Json]:
    return [
        {
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": member.public_key.hex(),
        }
        for member in replica_set.members
    ]


def _identity_to_json(identity: IdentityRecord) -> Json:
    keys: list[Json] = [
        {
            "id": key_id,
            "public_key": key.public_key.hex(),
            "not_before_ms": key.not_before_ms,
            "not_after_ms": key.not_after_ms,
        }
        for key_id, key in sorted(identity.keys.items())
    ]
    roles: list[Json] = list(sorted(identity.roles))
    return {
        "did": identity.did,
        "organisation": identity.organisation,
        "roles": roles,
        "keys": keys,
    }
