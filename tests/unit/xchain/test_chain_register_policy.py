"""The numbers of the register of chains that genesis may set, and what its genesis has to name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.consensus.domain.ledger.genesis import GenesisError
from tests.unit.ledger.chain_builder import genesis_json, genesis_of
from tests.unit.xchain.registered_chains import Registry, detail, spoiled


def genesis(*names: str, **parameters: Any) -> Any:
    value = genesis_json()
    value["contracts"] = [
        {"name": name, "version": 1, "from_height": 0}
        | ({"parameters": parameters} if parameters and name == "chains" else {})
        for name in names
    ]
    return genesis_of(value)


def test_genesis_names_the_policy_of_the_register() -> None:
    made = genesis("identity", "light_client", "chains", assessment_days_max=10)
    [register] = [each for each in made.contracts if each.name == "chains"]
    assert register.parameters == {"assessment_days_max": 10}
    assert genesis("identity", "light_client", "chains")


@pytest.mark.parametrize(
    "parameters",
    [
        {"assessment_days_max": 0},
        {"assessment_days_max": "365"},
        {"assessment_days_max": True},
        {"probe_lag_heights_max": 10_001},
        {"more": 1},
    ],
)
def test_a_policy_of_another_form_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(GenesisError) as error:
        genesis("identity", "light_client", "chains", **parameters)
    assert "contracts.chains.parameters" in str(error.value)


def test_a_register_without_light_clients_is_refused() -> None:
    with pytest.raises(GenesisError) as error:
        genesis("identity", "chains")
    assert "chains without light_client" in str(error.value)


def versions(*contracts: tuple[str, int, int]) -> Any:
    value = genesis_json()
    value["contracts"] = [
        {"name": name, "version": version, "from_height": height}
        for name, version, height in (("light_client", 1, 0), *contracts)
    ]
    return genesis_of(value)


@pytest.mark.req("G2-19-5")
@pytest.mark.parametrize(
    "contracts",
    [
        (("chains", 3, 0), ("packets", 4, 0)),
        (("chains", 2, 0), ("packets", 3, 0)),
        (("chains", 2, 0), ("chains", 3, 9), ("packets", 4, 9)),
        (("packets", 4, 0), ("chains", 3, 9)),
        (("packets", 4, 0),),
    ],
)
def test_seals_are_judged_where_the_register_keeps_certificates(contracts: Any) -> None:
    assert versions(*contracts)


@pytest.mark.req("G2-19-5")
@pytest.mark.parametrize(
    "contracts",
    [
        (("chains", 1, 0), ("packets", 4, 0)),
        (("chains", 2, 0), ("packets", 3, 0), ("packets", 4, 9)),
        (("chains", 2, 0), ("chains", 3, 9), ("packets", 4, 8)),
        (("packets", 4, 0), ("chains", 2, 5), ("chains", 3, 9)),
    ],
)
def test_a_genesis_that_judges_seals_by_an_older_register_is_refused(contracts: Any) -> None:
    with pytest.raises(GenesisError) as error:
        versions(*contracts)
    assert "packets 4 while chains is older than 3" in str(error.value)


@pytest.mark.req("G2-06-3")
def test_the_policy_of_genesis_is_the_one_that_counts() -> None:
    registry = Registry.make()
    key = b"chains/parameters"
    parameters = json.loads(registry.csrc.state.values[key])
    registry.csrc.state.values[key] = json.dumps({**parameters, "assessment_days_max": 10}).encode()
    receipt = registry.submit(spoiled("security_assessment.date", "2025-08-13"))
    assert (receipt.code, detail(receipt)["days_max"]) == ("ASSESSMENT_EXPIRED", 10)
    assert registry.submit(spoiled("security_assessment.date", "2025-08-14")).accepted


@pytest.mark.req("N0-42")
@pytest.mark.parametrize(
    "contracts",
    [
        (("chains", 3, 0), ("objects", 2, 0), ("packets", 5, 0)),
        (("objects", 1, 0), ("packets", 2, 0)),
        (("objects", 1, 0), ("objects", 2, 9), ("packets", 2, 0), ("packets", 5, 9)),
        (("packets", 5, 0),),
    ],
)
def test_objects_change_their_version_with_the_packets_that_write_them(contracts: Any) -> None:
    assert versions(*contracts)


@pytest.mark.req("N0-42")
@pytest.mark.parametrize(
    "contracts",
    [
        (("objects", 1, 0), ("packets", 5, 0)),
        (("objects", 2, 0), ("packets", 4, 0)),
        (("objects", 2, 0),),
        (("objects", 2, 0), ("packets", 2, 0), ("packets", 5, 9)),
        (("objects", 1, 0), ("objects", 2, 9), ("packets", 5, 0)),
    ],
)
def test_a_genesis_in_which_they_do_not_is_refused(contracts: Any) -> None:
    with pytest.raises(GenesisError) as error:
        versions(*contracts)
    assert "packets 5 and objects 2 not from one height on" in str(error.value)
