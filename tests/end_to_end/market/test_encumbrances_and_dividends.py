"""Freezes, pledges and dividends through the command line: the published lists to the byte."""

from __future__ import annotations

import asyncio
import csv
import io
import shutil
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import TINY, OneMachine, wait_until

pytestmark = pytest.mark.end_to_end
PRODUCT = "SD900003G.EMXXXR2501"
CUT = 220
"""So many of the events of market-tiny bring some of the rows of each list, and not all."""
LISTS = {
    name: (TINY / "expected" / f"{name}.csv").read_bytes().decode()
    for name in ("roster", "encumbrances", "dividends")
}


@pytest.fixture(scope="module")
def halfway(one_machine: OneMachine, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The height at which an import was cut off: however fast it is, the lists are half there."""
    part = tmp_path_factory.mktemp("part") / "market-tiny"
    shutil.copytree(TINY, part)
    events = (part / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (part / "events.jsonl").write_text("".join(events[:CUT]), encoding="utf-8")
    one_machine.must("import", part)
    return asyncio.run(height_of(one_machine.network))


async def height_of(network: Network) -> int:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        return (await client.latest()).height


@pytest.fixture(scope="module")
def tiny(
    one_machine: OneMachine, halfway: int, tmp_path_factory: pytest.TempPathFactory
) -> OneMachine:
    """A network with the whole of market-tiny in its read model."""
    assert halfway > 0
    results = tmp_path_factory.mktemp("results") / "results.csv"
    one_machine.must("import", TINY, "--results", results)
    assert results.read_bytes() == (TINY / "expected" / "results.csv").read_bytes()
    wait_lists(one_machine)
    return one_machine


def wait_lists(machine: OneMachine) -> None:
    """The read model follows the chain within moments."""
    for name in LISTS:
        wait_until(name, partial(is_shown, machine, name))


def is_shown(machine: OneMachine, name: str) -> bool:
    """Whether the list is whole and nothing is said beside it, such as that the chain is ahead."""
    answer = machine.must("register", name)
    return (answer.out, answer.said) == (LISTS[name], "")


@pytest.mark.req("N0-17", "N0-19", "N0-20")
def test_the_lists_of_the_whole_dataset_equal_the_published_ones_to_the_byte(
    tiny: OneMachine,
) -> None:
    """A heartbeat may put the chain one block ahead for a moment, which is said."""
    wait_lists(tiny)


@pytest.mark.parametrize("name", ["encumbrances", "dividends"])
def test_other_forms_and_one_product_show_the_same_rows(tiny: OneMachine, name: str) -> None:
    expected = list(csv.DictReader(io.StringIO(LISTS[name])))
    rows = tiny.must("register", name, "-o", "json").json()
    assert [
        {column: "" if value is None else str(value) for column, value in row.items()}
        for row in rows
    ] == expected
    of_product = tiny.must("register", name, "--product", PRODUCT).out
    lines = LISTS[name].splitlines(keepends=True)
    assert of_product == lines[0] + "".join(line for line in lines[1:] if PRODUCT in line)
    table = tiny.must("register", name, "-o", "table").out.splitlines()
    assert len(table) == len(lines)
    assert table[0].split() == lines[0].strip().split(",")


@pytest.mark.req("N0-19")
@pytest.mark.parametrize("name", ["encumbrances", "dividends"])
def test_older_heights_show_what_was_there_then(tiny: OneMachine, halfway: int, name: str) -> None:
    """Rows come one after another, and rows of dividends never change."""
    header = LISTS[name].splitlines(keepends=True)[0]
    at: dict[int, str] = {halfway: tiny.must("register", name, "--height", halfway).out}
    for height in count(1, 4):
        answer = tiny.run("register", name, "--height", height)
        if answer.code:
            assert answer.error in ("HEIGHT_UNKNOWN", "HEIGHT_NOT_PROJECTED")
            break
        at[height] = answer.out
    shown = [*(at[height] for height in sorted(at)), tiny.must("register", name).out]
    assert (shown[0], shown[-1]) == (header, LISTS[name])
    assert len(set(shown)) > 2
    for earlier, later in pairwise(shown):
        assert len(earlier.splitlines()) <= len(later.splitlines())
        assert name == "encumbrances" or later.startswith(earlier)


@pytest.mark.parametrize("name", ["encumbrances", "dividends"])
def test_a_product_that_nobody_registered_and_a_height_that_is_not_there_are_refused(
    tiny: OneMachine, name: str
) -> None:
    unknown = tiny.run("register", name, "--product", "NOPE")
    assert (unknown.code, unknown.error, unknown.out) == (3, "PRODUCT_UNKNOWN", "")
    chinese = tiny.run("register", name, "--height", 10**6, language="zh")
    assert (chinese.code, chinese.error, chinese.out) == (3, "HEIGHT_UNKNOWN", "")
    assert tiny.run("register", name, "--height", -1).code == 2


def test_an_import_again_and_a_restart_leave_the_lists_as_they_are(
    tiny: OneMachine, tmp_path: Path
) -> None:
    tiny.must("import", TINY, "--results", tmp_path / "again.csv")
    tiny.must("dev", "down")
    tiny.up()
    wait_lists(tiny)
