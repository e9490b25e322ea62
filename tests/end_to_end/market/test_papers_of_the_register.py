"""Papers of the register, made by one command and judged by anybody without the network."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.harness import guqiao
from tests.end_to_end.market.conftest import Market

pytestmark = pytest.mark.end_to_end


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.req("N0-08", "N0-19")
def test_a_package_holds_what_the_register_shows_and_proves_itself(
    market: Market, tmp_path: Path
) -> None:
    machine = market.machine
    shown = rows_of(machine.must("register", "roster").out)
    product = shown[0]["product_code"]
    shutil.copy(machine.network.layout.trust, tmp_path / "trust.json")
    package = tmp_path / "package"
    machine.must("register", "export", product, "--to", package)
    verify = ("register", "verify-export", package, "--trust", "trust.json", "-o", "json")
    answer = guqiao(*verify, cwd=tmp_path)
    assert answer.code == 0, answer.err
    said = answer.json()
    assert (said["verified"], said["chain"], said["product_code"]) == (True, "shandong", product)
    assert all(each["holds"] for each in said["checks"])
    held = [row for row in shown if row["product_code"] == product]
    assert rows_of((package / "holders.csv").read_text()) == held
    totals = {(each["control"], each["nature"]): each["value"] for each in said["controls"]}
    assert totals["registered_total", ""] == sum(int(row["total"]) for row in held)
    bound = rows_of(machine.must("register", "encumbrances", "--product", product).out)
    assert {row["number"] for row in rows_of((package / "encumbrances.csv").read_text())} == {
        row["number"] for row in bound if row["status"] != "ENDED"
    }

    before = {each.name: each.read_bytes() for each in package.iterdir()}
    machine.must("register", "export", product, "--to", package, "--at", said["height"])
    assert {each.name: each.read_bytes() for each in package.iterdir()} == before

    holders = package / "holders.csv"
    holders.write_bytes(holders.read_bytes().replace(b"true", b"false", 1))
    refused = guqiao(*verify, cwd=tmp_path)
    assert refused.code == 7
    assert refused.json()["checks"][-1]["check"] == "file holders.csv"


def test_a_product_that_nobody_registered_has_no_package(market: Market, tmp_path: Path) -> None:
    refused = market.machine.run("register", "export", "NOPE", "--to", tmp_path / "no")
    assert refused.code == 3, refused.err
    assert "PRODUCT_UNKNOWN" in refused.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.req("N0-20")
def test_a_certificate_is_accepted_by_verify_and_by_its_code(
    market: Market, tmp_path: Path
) -> None:
    machine = market.machine
    row = rows_of(machine.must("register", "roster").out)[0]
    product, account = row["product_code"], row["account"]
    shutil.copy(machine.network.layout.trust, tmp_path / "trust.json")
    paper, page = tmp_path / "certificate.json", tmp_path / "page.html"
    issue = ("register", "certificate", product, account)
    machine.must(*issue, "--to", paper, "--page", page)
    verify = ("verify", paper, "--trust", "trust.json", "-o", "json")
    answer = guqiao(*verify, cwd=tmp_path)
    assert answer.code == 0, answer.err
    said = answer.json()
    assert (said["verified"], said["account"], said["product_code"]) == (True, account, product)
    shown = rows_of(machine.must("register", "roster", "--product", product).out)
    totals = {each["nature"]: int(each["total"]) for each in shown if each["account"] == account}
    assert {each["nature"]: each["total"] for each in said["holdings"]} == totals
    assert said["certificate"] in page.read_text()
    assert guqiao(*verify, "--code", said["code"], cwd=tmp_path).code == 0
    assert guqiao(*verify, "--code", said["code"][:-1], cwd=tmp_path).code == 2

    again = tmp_path / "again.json"
    machine.must(*issue, "--to", again, "--height", said["height"])
    assert guqiao("verify", again, *verify[2:], cwd=tmp_path).json()["digest"] == said["digest"]
    paper.write_bytes(paper.read_bytes().replace(account.encode(), b"Q000000000"))
    assert guqiao(*verify, cwd=tmp_path).code == 7
    nobody = machine.run("register", "certificate", product, "Q000000000", "--to", again)
    assert nobody.code == 3, nobody.err
    assert "HOLDING_UNKNOWN" in nobody.err
