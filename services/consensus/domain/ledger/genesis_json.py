"""Reads a genesis file strictly: a missing, unknown or odd member is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.quorum import REPLICAS_MAX, Member, ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.restart import RestartAuthorities
from services.consensus.domain.contracts.calendar import NAME as CALENDAR
from services.consensus.domain.contracts.calendar import YEARS_PARAMETER, first_years
from services.consensus.domain.contracts.chain_registry.policy import check_parameters
from services.consensus.domain.contracts.chain_registry.standing import CHAINS
from services.consensus.domain.contracts.chains import LISTS_FROM
from services.consensus.domain.contracts.deployed import (
    CONTRACTS,
    GAS_PARAMETER,
    first_contract_records,
)
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    RecordError,
    parse_identity,
)
from services.consensus.domain.contracts.key_uses import KeyUse
from services.consensus.domain.contracts.light_client_registration import LIGHT_CLIENT
from services.consensus.domain.contracts.objects import LIFE_CYCLE_FROM
from services.consensus.domain.contracts.objects import NAME as OBJECTS
from services.consensus.domain.contracts.packet_link.contract import CERTIFIED_FROM, JUDGED_FROM
from services.consensus.domain.contracts.packets import NAME as PACKETS
from services.consensus.domain.contracts.replica_sets import GOVERNANCE
from services.consensus.domain.ledger.genesis import (
    COMMON_PARAMETERS,
    FORMAT,
    PARAMETER_BOUNDS,
    ContractActivation,
    Genesis,
    GenesisError,
    ProtocolParameters,
    RemoteChain,
)
from services.consensus.domain.ledger.keys import LEDGER

GENESIS_BYTES_MAX: Final = 4 * 1024 * 1024
GENESIS_DEPTH_MAX: Final = 8
CONTRACTS_MAX: Final = 64
IDENTITIES_MAX: Final = 4_096
REMOTE_CHAINS_MAX: Final = 64

_CHAIN = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_CONTRACT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_POINT = re.compile(r"04[0-9a-f]{128}")
_ENTITY_ID = re.compile(r"\S{1,64}")
_ENTITY_NAME = re.compile(r"[^\x00-\x1f]{1,128}")
_MEMBERS: Final = (
    "format chain_id epoch genesis_time_ms historic_import destination replicas parameters"
    " contracts identities remote_chains"
)


def parse_genesis(data: bytes) -> Genesis:
    """Read and check a genesis file; raises `GenesisError`."""
    try:
        value = parse_json_strict(data, depth_max=GENESIS_DEPTH_MAX, size_max=GENESIS_BYTES_MAX)
    except JsonError as error:
        raise _invalid("file", f"not strict JSON: {error}") from error
    members = _members(value, "genesis", _with_authorities(value, _MEMBERS))
    if members["format"] != FORMAT:
        raise _invalid("format", f"not {FORMAT}")
    if not isinstance(members["historic_import"], bool):
        raise _invalid("historic_import", "neither true nor false")
    chain_id = _match(_CHAIN, members["chain_id"], "chain_id")
    epoch = _natural(members["epoch"], "epoch")
    replica_set = _replica_set(chain_id, epoch, members["replicas"], "replicas")
    genesis = Genesis(
        replica_set=replica_set,
        parameters=_parameters(members["parameters"]),
        genesis_time_ms=_natural(members["genesis_time_ms"], "genesis_time_ms"),
        historic_import=members["historic_import"],
        destination=_destination(members["destination"], chain_id),
        contracts=_contracts(members["contracts"]),
        identities=_identities(members["identities"]),
        remote_chains=_remote_chains(members["remote_chains"], chain_id),
        restart_authorities=_own_authorities(members, replica_set),
    )
    _check_key_uses(genesis)
    _check_deployments(genesis.contracts)
    _check_calendar(genesis.contracts)
    _check_chains(genesis.contracts)
    _check_seals(genesis.contracts)
    _check_objects(genesis.contracts)
    return genesis


def _check_deployments(contracts: tuple[ContractActivation, ...]) -> None:
    """Entities decide on contracts in star/1; what the file says of gas has to be whole."""
    deploying = [each for each in contracts if each.name == CONTRACTS]
    if not deploying:
        return
    if all(each.name != GOVERNANCE for each in contracts):
        raise _invalid("contracts", f"{CONTRACTS} without {GOVERNANCE}")
    parameters = deploying[0].parameters
    for name in sorted(parameters.keys() - {GAS_PARAMETER}):
        raise _invalid(f"contracts.{CONTRACTS}.parameters.{name[:64]}", "unknown")
    try:
        first_contract_records([], parameters)
    except ValueError as error:
        raise _invalid(f"contracts.{CONTRACTS}.parameters.{GAS_PARAMETER}", str(error)) from error


def _check_calendar(contracts: tuple[ContractActivation, ...]) -> None:
    """The years that the file seeds the calendar with have to be whole."""
    for parameters in (each.parameters for each in contracts if each.name == CALENDAR):
        for name in sorted(parameters.keys() - {YEARS_PARAMETER}):
            raise _invalid(f"contracts.{CALENDAR}.parameters.{name[:64]}", "unknown")
        try:
            first_years(parameters)
        except ValueError as error:
            field = f"contracts.{CALENDAR}.parameters.{YEARS_PARAMETER}"
            raise _invalid(field, str(error)) from error


def _check_chains(contracts: tuple[ContractActivation, ...]) -> None:
    """Registered chains are followed by light clients; the numbers of the policy are bounded."""
    for parameters in (each.parameters for each in contracts if each.name == CHAINS):
        if all(each.name != LIGHT_CLIENT for each in contracts):
            raise _invalid("contracts", f"{CHAINS} without {LIGHT_CLIENT}")
        try:
            check_parameters(parameters)
        except ValueError as error:
            raise _invalid(f"contracts.{CHAINS}.parameters", str(error)) from error


def _check_seals(contracts: tuple[ContractActivation, ...]) -> None:
    """Where seals are held against certificates, the register of chains keeps them."""
    judging = [
        each for each in contracts if each.name == PACKETS and each.version >= CERTIFIED_FROM
    ]
    chains = [each for each in contracts if each.name == CHAINS]
    if not judging or not chains:
        return
    keeping = [each.from_height for each in chains if each.version >= LISTS_FROM]
    first = max(judging[0].from_height, chains[0].from_height)
    if not keeping or keeping[0] > first:
        detail = f"{PACKETS} {CERTIFIED_FROM} while {CHAINS} is older than {LISTS_FROM}"
        raise _invalid("contracts", detail)


def _check_objects(contracts: tuple[ContractActivation, ...]) -> None:
    """Objects are judged by `packets` of the version that writes as their contract says."""
    kept = [each for each in contracts if each.name == OBJECTS]
    if not kept:
        return
    judging = _heights(contracts, PACKETS, JUDGED_FROM)
    if judging != _heights(contracts, OBJECTS, LIFE_CYCLE_FROM):
        detail = f"{PACKETS} {JUDGED_FROM} and {OBJECTS} {LIFE_CYCLE_FROM} not from one height on"
        raise _invalid("contracts", detail)


def _heights(contracts: tuple[ContractActivation, ...], name: str, version: int) -> list[int]:
    """From which heights on a contract is of that version or a later one; the first counts."""
    found = [e.from_height for e in contracts if e.name == name and e.version >= version]
    return sorted(found)[:1]


def _check_key_uses(genesis: Genesis) -> None:
    """A key votes, governs, signs or approves restarts, and never two of these."""
    known: dict[bytes, tuple[str, KeyUse]] = {}
    for field, public_key, use in genesis.key_uses():
        before = known.setdefault(public_key, (field, use))
        if before[1] is not use:
            raise _invalid(field, f"the key of {before[0]}, which has another use")


def _with_authorities(value: Json, wanted: str) -> str:
    """The members of an object that may name restart authorities."""
    named = isinstance(value, dict) and "restart_authorities" in value
    return f"{wanted} restart_authorities" if named else wanted


def _own_authorities(
    members: Mapping[str, Json], replica_set: ReplicaSet
) -> RestartAuthorities | None:
    """A restart is written where governance keeps the sets."""
    found = _authorities(members, replica_set, "restart_authorities")
    governed = any(each.name == GOVERNANCE for each in _contracts(members["contracts"]))
    if found is not None and not governed:
        raise _invalid("restart_authorities", "the chain has no governance contract")
    return found


def _authorities(
    members: Mapping[str, Json], replica_set: ReplicaSet, field: str
) -> RestartAuthorities | None:
    if "restart_authorities" not in members:
        return None
    try:
        found = RestartAuthorities.from_json(members["restart_authorities"])
    except ProofError as error:
        raise _invalid(field, error.detail) from error
    if {found.csrc, found.province} & {member.public_key for member in replica_set.members}:
        raise _invalid(field, "a vote key")
    return found


def _replica_set(chain_id: str, epoch: int, value: Json, field: str) -> ReplicaSet:
    entries = _list(value, field, REPLICAS_MAX)
    members = tuple(
        _member(entry, index, f"{field}[{index}]") for index, entry in enumerate(entries)
    )
    replica_set = ReplicaSet(chain_id, epoch, members)
    try:
        replica_set.check()
    except ReplicaSetError as error:
        raise GenesisError(error.code, field, error.detail) from error
    return replica_set


def _member(value: Json, index: int, field: str) -> Member:
    members = _members(value, field, "entity_id entity_name vote_key")
    return Member(
        replica=index,
        public_key=bytes.fromhex(_match(_POINT, members["vote_key"], f"{field}.vote_key")),
        entity_id=_match(_ENTITY_ID, members["entity_id"], f"{field}.entity_id"),
        entity_name=_match(_ENTITY_NAME, members["entity_name"], f"{field}.entity_name"),
    )


def _parameters(value: Json) -> ProtocolParameters:
    members = _members(value, "parameters", " ".join(PARAMETER_BOUNDS))
    numbers: dict[str, int] = {}
    for name, (low, high) in PARAMETER_BOUNDS.items():
        number = _natural(members[name], f"parameters.{name}")
        if not low <= number <= high:
            raise _invalid(f"parameters.{name}", f"{number} is not within {low} to {high}")
        numbers[name] = number
    if numbers["view_timeout_max_ms"] < numbers["view_timeout_ms"]:
        raise _invalid("parameters.view_timeout_max_ms", "less than view_timeout_ms")
    return ProtocolParameters(**numbers)


def _destination(value: Json, chain_id: str) -> str | None:
    if value is None:
        return None
    destination = _match(_CHAIN, value, "destination")
    if destination == chain_id:
        raise _invalid("destination", "the chain itself")
    return destination


def _contracts(value: Json) -> tuple[ContractActivation, ...]:
    activations: list[ContractActivation] = []
    for index, entry in enumerate(_list(value, "contracts", CONTRACTS_MAX)):
        field = f"contracts[{index}]"
        wanted = "name version from_height"
        if isinstance(entry, dict) and "parameters" in entry:
            wanted += " parameters"
        members = _members(entry, field, wanted)
        activation = ContractActivation(
            name=_match(_CONTRACT, members["name"], f"{field}.name"),
            version=_natural(members["version"], f"{field}.version"),
            from_height=_natural(members["from_height"], f"{field}.from_height"),
            parameters=_contract_parameters(members.get("parameters", {}), f"{field}.parameters"),
        )
        if activation.name == LEDGER or activation.version == 0:
            raise _invalid(field, f"the name {LEDGER} and version 0 are not for contracts")
        _check_order(activation, activations, field)
        activations.append(activation)
    return tuple(activations)


def _check_order(
    activation: ContractActivation, earlier: list[ContractActivation], field: str
) -> None:
    for other in earlier:
        if other.name == activation.name and not (
            other.version < activation.version and other.from_height < activation.from_height
        ):
            raise _invalid(field, "versions and heights of one contract must both rise")
        if other.name == activation.name and activation.parameters:
            raise _invalid(f"{field}.parameters", "only a contract's first version has them")


def _contract_parameters(value: Json, field: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _invalid(field, "not an object")
    for name in COMMON_PARAMETERS:
        if name in value:
            raise _invalid(f"{field}.{name}", "a name that genesis itself fills")
    return value


def _identities(value: Json) -> tuple[IdentityRecord, ...]:
    records: dict[str, IdentityRecord] = {}
    for index, entry in enumerate(_list(value, "identities", IDENTITIES_MAX)):
        try:
            record = parse_identity(entry, field=f"identities[{index}]")
        except RecordError as error:
            raise _invalid(error.field, error.detail) from error
        if record.did in records:
            raise _invalid(f"identities[{index}].did", "named twice")
        records[record.did] = record
    return tuple(records.values())


def _remote_chains(value: Json, chain_id: str) -> tuple[RemoteChain, ...]:
    remotes: dict[str, RemoteChain] = {}
    for index, entry in enumerate(_list(value, "remote_chains", REMOTE_CHAINS_MAX)):
        field = f"remote_chains[{index}]"
        wanted = _with_authorities(entry, "chain_id genesis_hash epoch replicas")
        members = _members(entry, field, wanted)
        remote_id = _match(_CHAIN, members["chain_id"], f"{field}.chain_id")
        if remote_id == chain_id or remote_id in remotes:
            raise _invalid(f"{field}.chain_id", "the chain itself, or named twice")
        genesis_hash = bytes.fromhex(
            _match(_HASH, members["genesis_hash"], f"{field}.genesis_hash")
        )
        if not any(genesis_hash):
            raise _invalid(f"{field}.genesis_hash", "a zero hash is no trust")
        epoch = _natural(members["epoch"], f"{field}.epoch")
        replica_set = _replica_set(remote_id, epoch, members["replicas"], f"{field}.replicas")
        authorities = _authorities(members, replica_set, f"{field}.restart_authorities")
        remotes[remote_id] = RemoteChain(remote_id, genesis_hash, replica_set, authorities)
    return tuple(remotes.values())


def _invalid(field: str, detail: str) -> GenesisError:
    return GenesisError("GENESIS_INVALID", field, detail)


def _members(value: Json, field: str, wanted: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _invalid(field, "not an object")
    odd = sorted(set(value) ^ set(wanted.split()))
    if odd:
        raise _invalid(f"{field}.{odd[0][:64]}", "missing or unknown")
    return value


def _list(value: Json, field: str, count_max: int) -> list[Json]:
    if not isinstance(value, list) or len(value) > count_max:
        raise _invalid(field, f"not a list of at most {count_max} entries")
    return value


def _match(pattern: re.Pattern[str], value: Json, field: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise _invalid(field, f"not of the form {pattern.pattern}")
    return value


def _natural(value: Json, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _invalid(field, "not a natural number")
    return value
