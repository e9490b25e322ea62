"""The export package of a register: complete, proven, and no cell of it can be another."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.register_papers.export import TABLES, ExportVerdict, build_export, verify_export
from guqiao_sdk.register_papers.manifest import NAME, Manifest
from guqiao_sdk.register_papers.proven import FREEZE, PLEDGE
from tests.unit.contracts.register_market import company_registration, entry, registration
from tests.unit.register_papers.paper_case import (
    ACCOUNTS,
    CLERK,
    KEYS,
    PRODUCT,
    Files,
    Register,
    busy,
    pledge,
    transfer,
)

pytestmark = pytest.mark.req("N0-08")
PROOF = "proof-0001.gqx"
Rows = list[list[str]]


@cache
def case() -> tuple[Register, Files]:
    register = busy()
    return register, register.export()


def judge(files: Files, register: Register | None = None) -> ExportVerdict:
    return verify_export(files, (register or case()[0]).trust(), KEYS.verify)


def refusal(files: Files) -> str:
    with pytest.raises(ProofError) as caught:
        judge(files)
    return f"{caught.value.piece}: {caught.value.detail}"


def rows_of(data: bytes) -> Rows:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def bytes_of(rows: Rows) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def edited(name: str, edit: Callable[[Rows], Rows]) -> Files:
    """The package with another table, not signed anew."""
    return {**case()[1], name: bytes_of(edit(rows_of(case()[1][name])))}


def vouched(name: str, edit: Callable[[Rows], Rows]) -> Files:
    """The same under a signature of the institution: only what the chain proves is against it."""
    return case()[0].signed_again(edited(name, edit))


def cells(name: str) -> Iterator[tuple[int, int]]:
    rows = rows_of(case()[1][name])
    return ((line, column) for line in range(len(rows)) for column in range(len(rows[line])))


def with_cell(rows: Rows, line: int, column: int) -> Rows:
    cell = rows[line][column]
    other = {"true": "false", "false": "true"}.get(cell, cell + "1" if cell else "1")
    changed = [[*row] for row in rows]
    changed[line][column] = other
    return changed


def test_a_package_is_read_and_every_check_is_named() -> None:
    register, files = case()
    held: list[str] = []
    verdict = verify_export(files, register.trust(), KEYS.verify, on_check=held.append)
    assert held == [
        "export manifest",
        *(f"file {name}" for name in sorted([*TABLES, PROOF])),
        f"proof in {PROOF}",
        "signature of the registration institution",
        "table holders.csv",
        "table encumbrances.csv",
        "completeness of the holders",
        "completeness of the encumbrances",
        "table history.csv",
        "table reconciliation.csv",
    ]
    assert (verdict.block.chain_id, verdict.manifest.product) == ("shandong", PRODUCT)
    held_by = {row.account: row.total for row in verdict.register.holders}
    assert held_by == {ACCOUNTS[0]: 600, ACCOUNTS[2]: 400}
    assert (verdict.register.registered_total, verdict.register.counted_holders) == (1_000, 2)


def test_what_is_outstanding_is_listed_with_its_rights_in_order() -> None:
    found = {row[1]: row for row in rows_of(case()[1]["encumbrances.csv"])[1:]}
    assert list(found) == ["F-1", "F-2", "F-3", "'=P-2"]
    effective, waiting, place = 6, 7, 8
    assert [found["F-2"][at] for at in (effective, waiting, place)] == ["100", "150", "1"]
    assert [found["F-3"][at] for at in (effective, waiting, place)] == ["0", "10", "2"]
    assert found["F-1"][place] == "0"
    assert found["F-1"][10:] == ["judicial_enforcement", "true", "(2025)鲁01执1号", "2026-08-31"]


def test_the_control_totals_are_those_of_the_register() -> None:
    totals = {(row[0], row[1]): int(row[2]) for row in rows_of(case()[1]["reconciliation.csv"])[1:]}
    assert {name: totals[name, ""] for name in ("holders", "positions", "changes")} == {
        "holders": 2,
        "positions": 2,
        "changes": 9,
    }
    assert {name: totals[name, ""] for name in ("pledges", "freezes", "waiting")} == {
        "pledges": 1,
        "freezes": 3,
        "waiting": 160,
    }
    assert {name: totals[name, "51"] for name in ("shares", "pledged", "frozen", "available")} == {
        "shares": 1_000,
        "pledged": 50,
        "frozen": 400,
        "available": 550,
    }


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_changed_is_refused(name: str) -> None:
    for line, column in cells(name):
        files = edited(name, lambda rows, at=(line, column): with_cell(rows, *at))  # type: ignore[misc]
        assert refusal(files).startswith(f"file {name}: its digest"), (line, column)


@pytest.mark.parametrize("name", ["holders.csv", "encumbrances.csv", "reconciliation.csv"])
def test_no_cell_can_be_another_even_under_the_institutions_signature(name: str) -> None:
    for line, column in cells(name):
        files = vouched(name, lambda rows, at=(line, column): with_cell(rows, *at))  # type: ignore[misc]
        assert refusal(files), (line, column)


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("holders.csv", lambda rows: rows[:-1], "completeness of the holders"),
        ("holders.csv", lambda rows: [*rows, rows[-1]], "table holders.csv: line 4 does not come"),
        ("holders.csv", lambda rows: [rows[0], *rows[:0:-1]], "table holders.csv: line 3 does not"),
        ("holders.csv", lambda rows: rows[1:], "table holders.csv: its header line"),
        ("encumbrances.csv", lambda rows: [*rows[:1], *rows[2:]], "completeness of the encumb"),
        ("encumbrances.csv", lambda rows: [*rows[:3], *rows[4:]], "completeness of the encumb"),
        ("encumbrances.csv", lambda rows: rows[:-1], "completeness of the encumbrances: those"),
        ("history.csv", lambda rows: rows[:-1], "table history.csv: it does not lead"),
        ("history.csv", lambda rows: with_cell(rows, 1, 8), "table history.csv: line 2 contra"),
        ("history.csv", lambda rows: [rows[0], *rows[:0:-1]], "table history.csv: line 3 does"),
        ("reconciliation.csv", lambda rows: rows[:-1], "table reconciliation.csv: 13 rows"),
        ("reconciliation.csv", lambda rows: with_cell(rows, 1, 2), "table reconciliation.csv: l"),
    ],
)
def test_what_the_institution_vouches_for_is_held_against_the_chain(
    name: str, edit: Callable[[Rows], Rows], said: str
) -> None:
    assert refusal(vouched(name, edit)).startswith(said)


def test_a_file_more_or_less_is_named() -> None:
    register, files = case()
    for name in files:
        less = {each: content for each, content in files.items() if each != name}
        assert refusal(less) == f"file {name}: it is missing"
    more = {**files, "names.csv": b""}
    assert refusal(more) == "file names.csv: the manifest does not name it"
    less = {name: content for name, content in files.items() if name not in (PROOF, NAME)}
    unproven = register.signed_again({**less, NAME: files[NAME]})
    assert refusal(unproven) == "export manifest: it names no extract of a state"


def test_another_height_or_chain_is_not_that_of_the_proofs() -> None:
    register, files = case()
    height = Manifest.decode(files[NAME]).height
    for changes in ({"height": height - 1}, {"chain_id": "csrc"}, {"block_time_ms": 1}):
        found = refusal(register.signed_again(files, **changes))
        assert found.startswith(f"proof in {PROOF}: it is not of"), changes
    other = refusal(register.signed_again(files, product="NOPE"))
    assert other.startswith("state of register/product/NOPE: it is not among the proofs")


def test_an_earlier_state_does_not_prove_a_later_register() -> None:
    register = busy()
    before = register.chain.header.height
    history, seal = register.history(), register.seal()
    old = register.extract(history.listing().keys(), did=seal.signer.did)
    register.do(transfer(ACCOUNTS[0], ACCOUNTS[1], 10))
    files = register.export()
    mixed = register.signed_again({**files, PROOF: old.encode()}, height=before)
    with pytest.raises(ProofError):
        judge(mixed, register)
    assert judge(files, register).manifest.height == before + 1


def test_only_the_institutions_own_key_signs() -> None:
    register, files = case()
    by_clerk = "signature of the registration institution: the state knows no such key"
    assert refusal(register.export(did=CLERK)).startswith(by_clerk)
    manifest = Manifest.decode(files[NAME])
    foreign = replace(manifest.signer, public_key=KEYS.public_key("stranger"))
    forged = replace(manifest, signer=foreign)
    forged = replace(forged, signature=KEYS.sign("stranger", forged.sign_bytes()))
    assert refusal({**files, NAME: forged.encode()}).startswith(by_clerk)
    spoiled = replace(manifest, signature=bytes(64))
    assert refusal({**files, NAME: spoiled.encode()}) == (
        "signature of the registration institution: its signature does not hold"
    )


def test_every_member_of_the_manifest_is_signed() -> None:
    _, files = case()
    manifest = Manifest.decode(files[NAME])
    for changed in (
        replace(manifest, height=manifest.height + 1),
        replace(manifest, product="NOPE"),
        replace(manifest, chain_id="csrc"),
        replace(manifest, block_time_ms=1),
        replace(manifest, signer=replace(manifest.signer, key_id="key-2")),
        replace(manifest, signer=replace(manifest.signer, did=CLERK)),
    ):
        assert refusal({**files, NAME: changed.encode()})
    for data in (b"", b"[]", b"{}", files[NAME] + b"\n", files[NAME].replace(b"/1", b"/2")):
        assert refusal({**files, NAME: data}).startswith("export manifest:")


def test_proofs_of_what_no_table_holds_are_refused() -> None:
    """Or a package could carry holdings of somebody whom it does not list."""
    register, files = case()
    history, seal = register.history(), register.seal()
    keys = [*history.listing().keys(), f"register/holding/{PRODUCT}/{ACCOUNTS[1]}"]
    more = register.extract(keys, did=seal.signer.did)
    padded = register.signed_again({**files, PROOF: more.encode()})
    assert refusal(padded) == "export manifest: its extracts prove more than the tables hold"


def test_what_binds_shares_of_another_product_is_not_listed() -> None:
    register = busy()
    register.do(
        ("register_company", company_registration(2)),
        ("initial_registration", registration(entry(ACCOUNTS[0], 1_000), product=2)),
        pledge("P-9", ACCOUNTS[0], 5, product=2),
    )
    assert (PLEDGE, "P-9") not in register.history().listing().encumbrances
    listing, seal = register.history().listing(), register.seal()
    more = replace(listing, encumbrances=listing.encumbrances | {(PLEDGE, "P-9")})
    extract = register.extract(more.keys(), did=seal.signer.did)
    with pytest.raises(ProofError, match="nothing is outstanding of it in this product"):
        build_export(more, register.history().changes, [extract], seal)
    judge(register.export(), register)


def test_where_every_share_is_frozen_the_queue_must_be_shown() -> None:
    """Or an institution could leave out all the freezes that wait."""
    register, files = case()
    rows = rows_of(files["encumbrances.csv"])
    kept = bytes_of([rows[0], *(row for row in rows[1:] if row[1] not in ("F-2", "F-3"))])
    listing, seal = register.history().listing(), register.seal()
    unlisted = listing.encumbrances - {(FREEZE, "F-2"), (FREEZE, "F-3")}
    short = replace(listing, encumbrances=unlisted, queues=frozenset())
    extract = register.extract(short.keys(), did=seal.signer.did)
    hidden = {**files, "encumbrances.csv": kept, PROOF: extract.encode()}
    found = refusal(register.signed_again(hidden))
    assert found.startswith("state of register/waiting/Q000000003/"), found
    assert found.endswith("it is not among the proofs")


def test_a_history_does_not_go_on_after_the_height() -> None:
    def later(rows: Rows) -> Rows:
        return [*rows[:-1], ["9999", *rows[-1][1:]]]

    assert refusal(vouched("history.csv", later)).startswith("table history.csv: line 10 contra")


def test_a_product_that_is_not_registered_has_no_package() -> None:
    register = case()[0]
    history, seal = register.history(product="NOPE"), register.seal()
    extract = register.extract(history.listing().keys(), did=seal.signer.did)
    with pytest.raises(ProofError, match="the product is not registered"):
        build_export(history.listing(), history.changes, [extract], seal)


@pytest.mark.req("N0-19")
def test_the_roster_of_every_height_is_rebuilt_from_the_blocks_alone() -> None:
    register = busy()
    heights = range(2, register.chain.header.height + 1)
    totals = []
    for height in heights:
        history = register.history(height)
        last = {change.account: change.total for change in history.changes}
        totals.append({account: total for account, total in last.items() if total})
        assert history.listing().accounts == set(totals[-1])
    assert totals[0] == {ACCOUNTS[0]: 600, ACCOUNTS[1]: 400}
    assert totals[-1] == {ACCOUNTS[0]: 600, ACCOUNTS[2]: 400}
    assert all(sum(each.values()) == 1_000 for each in totals)


def test_one_register_at_one_height_is_one_package() -> None:
    register, files = case()
    assert register.export() == files
