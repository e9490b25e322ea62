"""Which seed plays what: every kind its share, every cell its turn, and each scenario a name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from tests.simulation.byzantine.registry import STRATEGIES, VARIANTS
from tests.simulation.campaign import COVERAGE_SEEDS_MIN, ROOT
from tests.simulation.drawing import (
    BATCHED,
    FUZZED,
    LOST,
    PERIOD,
    TWINS,
    WITHHELD,
    enumerated,
    grid,
    name_of,
    scenario_of,
)
from tests.simulation.fault_plan import FAULTS
from tests.simulation.generators import GRID, TWINS_ROUNDS, TWINS_SIZE
from tests.simulation.naming import CELLS, TOGETHER, Name, parse
from tests.simulation.scenario import (
    BATCHES,
    BRIEF,
    BY_TURN,
    LONG_PACE,
    MANY,
    STORED,
    TRAITORS,
    its_turn,
    of_loss,
    of_seed,
)

FULL = {f"full batch of {size}" for size in BATCHES.values()}


def test_the_document_says_in_how_many_runs_store_and_signatures_are_the_productions() -> None:
    drawn = [scenario_of(seed) for seed in range(1_000)]
    stored = Counter(each.kind for each in drawn if each.stored)
    assert set(stored) == {"byzzfuzz", "ceremony", "storm", "twins"}
    assert stored["ceremony"] == sum(each.kind == "ceremony" for each in drawn)
    signed = sum(each.scheme == "sm2" for each in drawn)
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    told = f"in {stored.total()} of the first 1,000 seeds: every ceremony, {stored['storm']} of the"
    brief = f"storms, {stored['byzzfuzz']} runs of ByzzFuzz and {stored['twins']} of Twins"
    assert f"{told} {brief}" in text
    assert f"SM2 in {signed} of the first 1,000 seeds" in text


@pytest.mark.parametrize("first", [0, 1, 57, 113, 299, 1_000, 1_999_961])
def test_any_campaign_that_must_play_every_cell_does(first: int) -> None:
    names = map(name_of, range(first, first + COVERAGE_SEEDS_MIN))
    played = Counter(cell for name in names for cell in name.cells())
    assert set(played) == set(CELLS) - FULL


def test_a_campaign_of_the_grid_or_of_twins_alone_plays_each_cell_as_often_as_asked_for() -> None:
    played = Counter(cell for name in grid(20, first=7) for cell in name.cells())
    assert (len(played), set(played.values())) == (18, {20})
    twins = [name.scenario() for name in enumerated(2_000)]
    assert len({str((each.copies, each.faults)) for each in twins}) == 2_000
    assert {(each.size, len(each.faults)) for each in twins} == {(TWINS_SIZE, TWINS_ROUNDS)}


def test_brief_runs_have_the_same_storm_and_a_name_of_their_own() -> None:
    for name in [*grid(2, first=3), *enumerated(40)]:
        whole = replace(name, traits=name.traits - {BRIEF})
        assert name.scenario() == replace(whole.scenario(), brief=True)
        assert not whole.scenario().brief
        assert parse(str(name)) == name != parse(str(whole))


def test_continuous_integration_plays_the_numbers_that_the_plan_asks_for() -> None:
    """T-1, T-2 and T-3 of docs/reliability.md, as `.ci/run` asks for them."""
    plan = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = {
        row.split("|")[1].strip(): row.split("|")[3].strip()
        for row in plan.splitlines()
        if row.startswith("| T-")
    }
    asked = dict(
        re.findall(r"(SEEDS|TWINS|GRID)=(\d+)", (ROOT / ".ci/run").read_text(encoding="utf-8"))
    )
    assert rows["T-1"].replace(",", "") == asked["SEEDS"]
    assert rows["T-2"].replace(",", "") == asked["TWINS"]
    assert rows["T-3"] == f"{len(GRID)} × {asked['GRID']}"
    assert int(asked["SEEDS"]) >= COVERAGE_SEEDS_MIN


def test_every_size_of_batch_is_drawn_in_every_long_campaign() -> None:
    for first in (0, 131):
        scenarios = list(map(scenario_of, range(first, first + COVERAGE_SEEDS_MIN)))
        assert {each.batch_max for each in scenarios} >= set(BATCHES.values())


def test_the_cells_are_all_there_are_and_no_fault_or_strategy_is_called_alike() -> None:
    assert len(CELLS) == len(set(CELLS)) == 18 + 8 + 2 + len(TOGETHER) + len(BATCHES)
    assert not set(CELLS) & {*FAULTS, *STRATEGIES, *VARIANTS}


def test_no_kind_takes_the_seeds_of_another() -> None:
    for seed in range(2 * PERIOD):
        kinds = [
            its_turn(seed, LOST),
            its_turn(seed, BATCHED),
            its_turn(seed, MANY),
            its_turn(seed, TRAITORS),
            its_turn(seed, STORED),
            its_turn(seed, LONG_PACE),
            seed % PERIOD in WITHHELD,
            seed % PERIOD in TWINS,
            seed % PERIOD in FUZZED,
        ]
        assert sum(kinds) <= 1, seed


@pytest.mark.parametrize("first", [0, 500_000])
def test_a_name_alone_gives_the_scenario_of_its_seed(first: int) -> None:
    for seed in range(first, first + 200):
        name = name_of(seed)
        assert parse(str(name)) == name
        assert name.scenario() == scenario_of(seed)
        assert name.scenario().seed == seed


def test_a_name_says_all_that_its_scenario_has() -> None:
    """Whatever turns the seed has in the drawing."""
    seed = next(each for each in range(1, 400) if its_turn(each, BY_TURN["many"]))
    assert parse(f"storm/{seed}").scenario() == of_seed(seed, traits=frozenset())
    assert parse(f"storm/{seed}").scenario().requests < 200
    found = parse(f"storm/{seed}+many+sm2+batch16").scenario()
    assert (found.requests, found.scheme, found.batch_max) == (200, "sm2", 16)
    lost = parse("ceremony/127/6+many+sm2").scenario()
    assert (lost.requests, lost.scheme) == (200, "sm2")
    assert lost.loss == of_loss(127, 6).loss
    assert Name("storm", 150, traits=frozenset({"stored", "rot"})) == parse("storm/150+rot+stored")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "storm",
        "storm/",
        "storm/1/2",
        "storm/1+often",
        "ceremony/1",
        "ceremony/1/2+stored",
        "twins/1/2+sm2",
        "byzzfuzz/3-0-any/1",
        "byzzfuzz/1-1-all/1",
        "storm/1+brief",
        "ceremony/1/2+brief",
        "withheld/1+many",
        "sunshine/1",
    ],
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no scenario is called"):
        parse(text)
