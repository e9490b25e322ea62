"""What an account holds, exported by one command and verified by anybody without the network."""

from __future__ import annotations

import csv
import io
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from tests.end_to_end.harness import guqiao
from tests.end_to_end.market.conftest import Market

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("N0-09", "N0-20")]
NOBODY = "Q000000000"


def test_an_extract_proves_the_roster_line_by_line_and_that_somebody_holds_nothing(
    market: Market, tmp_path: Path
) -> None:
    machine = market.machine
    rows = csv.DictReader(io.StringIO(machine.must("register", "roster").out))
    held: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in rows:
        held[row["product_code"], row["account"]][row["nature"]] = int(row["total"])
    (product, account), natures = next(iter(held.items()))
    shutil.copy(machine.network.layout.trust, tmp_path / "trust.json")
    of_products = ("--product", product, "--product", "NOPE")
    for name, whose in (("holder", account), ("nobody", NOBODY)):
        to = tmp_path / f"{name}.gqx"
        machine.must("register", "extract", "--account", whose, *of_products, "--to", to)
        answer = guqiao("verify", to, "--trust", "trust.json", "-o", "json", cwd=tmp_path)
        assert answer.code == 0, answer.err
        said = answer.json()
        assert (said["verified"], said["chain"]) == (True, "shandong")
        assert all(each["holds"] for each in said["checks"])
        shown = {each["key"]: each["value"] for each in said["facts"]}
        assert shown[f"register/holding/NOPE/{whose}"] is None
        found = shown[f"register/holding/{product}/{whose}"]
        if name == "nobody":
            assert found is None
        else:
            totals = {nature: each["total"] for nature, each in found["positions"].items()}
            assert totals == natures


def test_a_changed_extract_is_refused_and_the_failed_check_is_named(
    market: Market, tmp_path: Path
) -> None:
    to = tmp_path / "extract.gqx"
    options = ("--account", NOBODY, "--product", "NOPE", "--to", to)
    market.machine.must("register", "extract", *options)
    shutil.copy(market.machine.network.layout.trust, tmp_path / "trust.json")
    content = bytearray(to.read_bytes())
    content[content.index(b"header") + 40] ^= 1
    to.write_bytes(content)
    answer = guqiao("verify", to, "--trust", "trust.json", "-o", "json", cwd=tmp_path)
    assert answer.code == 7
    said = answer.json()
    assert said["verified"] is False
    assert said["checks"][0] == {"check": "trust file", "holds": True}
    assert said["checks"][-1]["holds"] is False


def test_an_extract_of_no_known_height_is_refused(market: Market, tmp_path: Path) -> None:
    options = ("--account", NOBODY, "--product", "NOPE", "--to", tmp_path / "no.gqx")
    refused = market.machine.run("register", "extract", *options, "--height", 1_000_000)
    assert refused.code == 3, refused.err
    assert not (tmp_path / "no.gqx").exists()
