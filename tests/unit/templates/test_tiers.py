"""The map of tiers that a contract's record keeps, and the writes that it lets be made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.json_values import canonical_json, parse_json_strict
from services.consensus.domain.contracts.deployed import (
    Deployed,
    Status,
    contract_record_key,
    deployed,
)
from services.consensus.domain.contracts.template.tiers import TierMap
from tests.unit.templates.template_market import FOLDER, template

NAMED = {"id": "a", "version": 1, "class": "SELF", "digest": "ab", "filing_number": None}
TIERS = TierMap.of(template("transfer")).to_json()
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_map_is_read_back_as_it_was_kept(name: str) -> None:
    tiers = TierMap.of(template(name))
    kept = canonical_json(tiers.to_json())
    assert TierMap.from_json(parse_json_strict(kept, depth_max=8, size_max=4_096)) == tiers
    assert len(kept) < 1_024


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.pop("steps"),
        lambda value: value.update(more=1),
        lambda value: value.update(groups={}),
        lambda value: value["groups"].append(1),
        lambda value: value["groups"][0].pop("tier"),
        lambda value: value["groups"][0].update(more=1),
        lambda value: value["groups"][0].update(tier="SECRET"),
        lambda value: value["groups"][0].update(state=1),
        lambda value: value["groups"][0]["fields"].update(more="secret"),
        lambda value: value["groups"][0]["optional"].append("nothing"),
    ],
)
def test_what_is_no_map_is_refused(spoil: Any) -> None:
    value: Any = TierMap.of(template("subject")).to_json()
    assert TierMap.from_json(value) is not None
    spoil(value)
    with pytest.raises(ValueError, match=r"not a|is not a valid"):
        TierMap.from_json(value)


def test_a_record_keeps_the_map_for_life_and_one_without_has_no_such_member() -> None:
    class Kept:
        def __init__(self, record: Any) -> None:
            self.record = record

        def get(self, key: str) -> Any:
            assert key == contract_record_key("transfer")
            return self.record

    with_map = Deployed(
        "transfer",
        "star/1",
        "ab" * 32,
        1,
        Status.ACTIVE,
        tiers=TierMap.of(template("transfer")),
        deployer=4,
    )
    assert deployed(Kept(with_map.to_json()), "transfer") == with_map
    assert with_map.with_status(Status.PAUSED).tiers == with_map.tiers
    without = replace(with_map, tiers=None, deployer=1)
    assert set(without.to_json()) == {"name", "engine", "digest", "version", "status"}
    assert deployed(Kept(without.to_json()), "transfer") == without


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    ("members", "deployer", "search", "is_searched"),
    [
        ({}, 1, Search.GROUPS, False),
        ({"template": NAMED, "tiers": TIERS}, 2, Search.GROUPS, False),
        ({"template": NAMED, "tiers": TIERS, "final_states": []}, 3, Search.GROUPS, True),
        (
            {"template": NAMED, "tiers": TIERS, "final_states": [], "deployer": 4},
            4, Search.ANY_WRITING, True,
        ),
    ],
)  # fmt: skip
def test_a_record_says_by_which_version_its_contract_is_searched(
    members: dict[str, Any], deployer: int, search: Search, is_searched: bool
) -> None:
    class Kept:
        def get(self, key: str) -> Any:
            code = {"engine": "star/1", "digest": "ab" * 32, "version": 1, "status": "active"}
            return {"name": key, **code, **members}

    found = deployed(Kept(), "transfer")
    assert found is not None
    assert (found.deployer, found.is_searched) == (deployer, is_searched)
    assert found.tiers is None or found.tiers.search is search
    assert found.to_json() == {**Kept().get("transfer"), **members}
