"""What the contract `contracts` keeps: contracts in star/1, their versions, and what gas is.

contract/<name>             the record: engine, digest, version, status
code/<name>/<version>       the canonical form that is executed, and the source beside it
gas/<version>, gas/latest   limits and prices
system                      the names of the chain's own contracts
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.star.gas import FIRST_TABLE, GasTable
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.tiers import TierMap

CONTRACTS: Final = "contracts"
SYSTEM_KEY: Final = "system"
GAS_LATEST_KEY: Final = "gas/latest"
GAS_LIMIT_MAX: Final = 100_000_000
UNTEMPLATED: Final = 1
BY_TEMPLATE: Final = 2
BY_POSITIONS: Final = 3
BY_RELEASE: Final = 4
BY_LIFE_CYCLE: Final = 5
"""The versions of `contracts`: from which the chain asks for templates, for the end of all business
before a contract's, for a release that was analysed and run on a test network, and from which the
engine holds calls against the life cycle of the template.
"""
DEPLOYER: Final = "deployer"
GAS_PARAMETER: Final = "gas"
"""The member of the contract's parameters in the genesis file that holds other first rules."""


class Status(StrEnum):
    """Where in its life a contract is."""

    ACTIVE = "active"
    PAUSED = "paused"
    DESTROYED = "destroyed"


class Reader(Protocol):
    """The keys of the contract `contracts`, for reading."""

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, or None."""
        ...


@dataclass(frozen=True, slots=True)
class NamedTemplate:
    """Which template a contract was deployed by; `digest` in hex, of a SELF one its number."""

    id: str
    version: int
    template_class: str
    digest: str
    filing_number: str | None

    def to_json(self) -> dict[str, Json]:
        """As records and events have it."""
        return {
            "id": self.id,
            "version": self.version,
            "class": self.template_class,
            "digest": self.digest,
            "filing_number": self.filing_number,
        }

    @staticmethod
    def from_json(value: Json) -> NamedTemplate:
        """Read what `to_json` gave."""
        match value:
            case {
                "id": str(identifier),
                "version": int(version),
                "class": str(template_class),
                "digest": str(digest),
                "filing_number": str() | None as number,
            }:
                return NamedTemplate(identifier, version, template_class, digest, number)
        raise AssertionError("a template named in another shape")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A contract as the chain knows it. `version` counts its deployment and upgrades from 1;
    `template` is the one that it runs by and `tiers` what that says of its data, both None where
    the chain asked for no template; in `final_states` of that template nothing is under way, None
    where the chain did not keep them. `life_cycle` is what it says of its steps, None where calls
    are not held against it. `deployer` is the version of the contract `contracts` that
    brought its present code onto the chain: what that asked for, the engine does.
    """

    name: str
    engine: str
    digest: str
    version: int
    status: Status
    template: NamedTemplate | None = None
    tiers: TierMap | None = None
    final_states: tuple[str, ...] | None = None
    life_cycle: LifeCycle | None = None
    deployer: int = UNTEMPLATED

    @property
    def is_searched(self) -> bool:
        """Whether its answers are searched for numbers of persons."""
        return self.deployer >= BY_POSITIONS

    def to_json(self) -> dict[str, Json]:
        """The record; without a template it has no such members."""
        record: dict[str, Json] = {
            "name": self.name,
            "engine": self.engine,
            "digest": self.digest,
            "version": self.version,
            "status": self.status.value,
        }
        if self.template is not None:
            record["template"] = self.template.to_json()
        if self.tiers is not None:
            record["tiers"] = self.tiers.to_json()
        if self.final_states is not None:
            record["final_states"] = list(self.final_states)
        if self.life_cycle is not None:
            record["life_cycle"] = self.life_cycle.to_json()
        if self.deployer >= BY_RELEASE:
            record[DEPLOYER] = self.deployer
        return record

    def with_status(self, status: Status) -> Deployed:
        """The same contract at another place of its life."""
        return replace(self, status=status)


@dataclass(frozen=True, slots=True)
class GasRules:
    """What a transaction and a block may use, in units of gas, and what things cost."""

    version: int
    transaction_limit: int
    block_limit: int
    prices: GasTable

    def to_json(self) -> dict[str, Json]:
        """The record."""
        prices: dict[str, Json] = {**self.prices.to_json()}
        return {
            "version": self.version,
            "transaction_limit": self.transaction_limit,
            "block_limit": self.block_limit,
            "prices": prices,
        }

    @staticmethod
    def from_json(value: Json) -> GasRules:
        """Read rules that a genesis file or the state holds; raises `ValueError`."""
        members = {"version", "transaction_limit", "block_limit", "prices"}
        if not isinstance(value, dict) or set(value) != members:
            raise ValueError(f"not an object of {', '.join(sorted(members))}")
        version = _bounded(value["version"], "version")
        limit = _bounded(value["transaction_limit"], "transaction_limit")
        whole = _bounded(value["block_limit"], "block_limit")
        if whole < limit:
            raise ValueError("block_limit is less than transaction_limit")
        prices = value["prices"]
        if not isinstance(prices, dict):
            raise ValueError("prices is not an object")
        table = GasTable.from_json({name: _bounded(each, name) for name, each in prices.items()})
        return GasRules(version, limit, whole, table)


FIRST_GAS: Final = GasRules(1, 500_000, 1_500_000, FIRST_TABLE)
"""What a chain begins with whose genesis file names no other: such files are older than the prices
of searches and of keys, without which half a million bought seconds of a core.
"""
PRESENT_GAS: Final = GasRules(1, 500_000, 1_500_000, GasTable())
"""What a new genesis file names. A million took at worst 0.84 s of one core, most operations 0.1 to
0.4 s (`bench/results/star_gas.json`, two cores under a load of 7.6), so a call takes at worst below
half a second of CPU there, and a block 1.3 s; a share transfer takes 500.
"""


def contract_record_key(name: str) -> str:
    """The key of a contract's record."""
    return f"contract/{name}"


def code_key(name: str, version: int) -> str:
    """The key of the canonical form and the source of one version."""
    return f"code/{name}/{version:020d}"


def gas_key(version: int) -> str:
    """The key of one version of the gas rules."""
    return f"gas/{version:020d}"


def first_contract_records(
    system_names: list[str], parameters: Mapping[str, Json]
) -> dict[str, Json]:
    """What genesis writes for a chain that has the contract."""
    found = parameters.get(GAS_PARAMETER)
    rules = FIRST_GAS if found is None else GasRules.from_json(found)
    names: list[Json] = list(sorted(set(system_names)))
    return {
        SYSTEM_KEY: names,
        gas_key(rules.version): rules.to_json(),
        GAS_LATEST_KEY: rules.version,
    }


def deployed(reader: Reader, name: str) -> Deployed | None:
    """The contract of this name, in whatever status, or None."""
    record = reader.get(contract_record_key(name))
    if record is None:
        return None
    assert isinstance(record, dict), "the contract wrote it"
    match record:
        case {
            "engine": str(engine),
            "digest": str(digest),
            "version": int(version),
            "status": str(status),
        }:
            named, tiers = record.get("template"), record.get("tiers")
            steps = record.get("life_cycle")
            deployer = deployer_of(record)
            return Deployed(
                name,
                engine,
                digest,
                version,
                Status(status),
                template=None if named is None else NamedTemplate.from_json(named),
                tiers=None if tiers is None else _tiers(canonical_json(tiers), search_of(deployer)),
                final_states=states_from_json(record.get("final_states")),
                life_cycle=None if steps is None else _life_cycle(canonical_json(steps)),
                deployer=deployer,
            )
    raise AssertionError("a record of another shape")


def states_from_json(value: Json) -> tuple[str, ...] | None:
    """The names of final states in a record or a proposal, None where it has none."""
    return None if value is None else tuple(str(each) for each in _rows(value))


def deployer_of(facts: Mapping[str, Json]) -> int:
    """The version of `contracts` that kept a record or a proposal: from `BY_RELEASE` on it says so,
    before that its members tell.
    """
    named = facts.get(DEPLOYER)
    if named is not None:
        assert type(named) is int, "the contract wrote it"
        return named
    if facts.get("final_states") is not None:
        return BY_POSITIONS
    return UNTEMPLATED if facts.get("template") is None else BY_TEMPLATE


def search_of(deployer: int) -> Search:
    """How numbers of persons are looked for in what contracts of that version write."""
    return Search.ANY_WRITING if deployer >= BY_RELEASE else Search.GROUPS


def _rows(value: Json) -> list[Json]:
    assert isinstance(value, list), "the contract wrote it"
    return value


@lru_cache(maxsize=128)
def _tiers(encoded: bytes, search: Search) -> TierMap:
    """Read by every call; there are few of them."""
    return TierMap.from_json(json.loads(encoded), search)


@lru_cache(maxsize=128)
def _life_cycle(encoded: bytes) -> LifeCycle:
    """Likewise."""
    return LifeCycle.from_json(json.loads(encoded))


def code_of(reader: Reader, contract: Deployed) -> bytes:
    """The canonical form of the present version."""
    record = reader.get(code_key(contract.name, contract.version))
    assert isinstance(record, dict), "versions are kept for ever"
    form = record["ir"]
    assert isinstance(form, str)
    return form.encode()


def gas_rules(reader: Reader) -> GasRules:
    """The rules in force."""
    latest = reader.get(GAS_LATEST_KEY)
    assert isinstance(latest, int), "genesis writes the first rules"
    return GasRules.from_json(reader.get(gas_key(latest)))


def _bounded(value: Json, name: str) -> int:
    if type(value) is not int or not 0 < value <= GAS_LIMIT_MAX:
        raise ValueError(f"{name} is not a whole number from 1 to {GAS_LIMIT_MAX}")
    return value
