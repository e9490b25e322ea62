"""The certificate of a holding: numbered by what it says, proven, and no member can be another."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.register_papers.certificate import (
    Certificate,
    build_certificate,
    is_certificate,
    verify_certificate,
)
from guqiao_sdk.register_papers.proven import (
    FREEZE,
    PLEDGE,
    Listing,
    ProvenRegister,
    holding_key,
    identity_key,
)
from guqiao_sdk.register_papers.verification_code import ALPHABET, code_of, read_code
from guqiaoctl.commands import verifying
from guqiaoctl.commands.certificate_page import page_of
from guqiaoctl.failures import EXIT_UNVERIFIED, EXIT_USAGE, CliError
from tests.unit.register_papers.paper_case import (
    ACCOUNTS,
    CLERK,
    KEYS,
    PRODUCT,
    Register,
    busy,
    transfer,
)

pytestmark = pytest.mark.req("N0-20")
HOLDER = ACCOUNTS[2]
"""Holds 400 shares, all frozen, with two freezes that wait."""
FREEZES = frozenset((FREEZE, number) for number in ("F-1", "F-2", "F-3"))
NOW_MS = 1_756_000_100_000


def issued(
    register: Register,
    account: str = HOLDER,
    *,
    numbers: frozenset[tuple[str, str]] = FREEZES,
    did: str = "",
    more: tuple[str, ...] = (),
) -> Certificate:
    full = frozenset([(HOLDER, "51")] if account == HOLDER else [])
    listing = Listing(PRODUCT, frozenset([account]), numbers, full)
    seal = register.seal(did)
    extract = register.extract([*listing.keys(), *more], did=seal.signer.did)
    return build_certificate(account, listing, [extract], seal)


@cache
def case() -> tuple[Register, Certificate]:
    register = busy()
    return register, issued(register)


def judge(data: bytes, held: list[str] | None = None) -> Certificate:
    on_check = (held if held is not None else list[str]()).append
    trust = case()[0].trust()
    return verify_certificate(
        data, trust, KEYS.verify, now_ms=NOW_MS, on_check=on_check
    ).certificate


def refusal(data: bytes) -> str:
    with pytest.raises(ProofError) as caught:
        judge(data)
    return f"{caught.value.piece}: {caught.value.detail}"


def signed_again(changed: Certificate) -> bytes:
    """As an institution would that vouches for something else than the chain has."""
    seal = case()[0].seal()
    found = replace(changed, signer=seal.signer)
    return replace(found, signature=seal.sign(found.sign_bytes())).encode()


def test_a_certificate_says_what_is_held_and_proves_it() -> None:
    register, certificate = case()
    held: list[str] = []
    assert judge(certificate.encode(), held) == certificate
    assert held == [
        "holding certificate",
        "proof 1",
        "signature of the registration institution",
        "holdings",
        "completeness of the encumbrances",
    ]
    [holding] = certificate.holdings
    assert (holding.total, holding.frozen, holding.available) == (400, 400, 0)
    assert [(each.number, each.queue_place) for each in certificate.encumbrances] == [
        ("F-1", 0),
        ("F-2", 1),
        ("F-3", 2),
    ]
    assert certificate.place.height == register.chain.header.height
    assert is_certificate(certificate.encode())
    verdict = verify_certificate(certificate.encode(), register.trust(), KEYS.verify, now_ms=NOW_MS)
    assert verdict.age_ms == NOW_MS - register.chain.header.block_time_ms


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value at which something stands that is no container."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            yield from places(part, (*path, name))
    else:
        yield path


def with_other(value: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(value)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    old = inner[path[-1]]
    if isinstance(old, bool):
        inner[path[-1]] = not old
    elif isinstance(old, int):
        inner[path[-1]] = old + 1
    else:
        inner[path[-1]] = ("B" if old[:1] != "B" else "C") + old[1:]
    return changed


def test_every_member_changed_is_refused() -> None:
    value = json.loads(case()[1].encode())
    found = list(places(value))
    assert len(found) > 50
    for path in found:
        assert refusal(canonical_json(with_other(value, path))), path


def test_what_the_institution_vouches_for_is_held_against_the_chain() -> None:
    """With number, digest, code and signature made to agree."""
    _, certificate = case()
    [holding] = certificate.holdings
    first = certificate.encumbrances[0]
    for changed, said in (
        ({"holdings": (replace(holding, total=500),)}, "its holdings"),
        ({"holdings": (replace(holding, confirmed=False),)}, "its holdings"),
        ({"holdings": (replace(holding, restricted_until="2030-01-01"),)}, "its holdings"),
        ({"encumbrances": certificate.encumbrances[1:]}, "completeness of the encumbrances"),
        ({"encumbrances": certificate.encumbrances[:-1]}, "completeness of the encumbrances"),
        (
            {"encumbrances": (replace(first, effective=1), *certificate.encumbrances[1:])},
            "its encumbrances",
        ),
        ({"encumbrances": certificate.encumbrances[::-1]}, "its encumbrances"),
        ({"account": ACCOUNTS[0]}, "it is not among the proofs"),
        ({"product": "NOPE"}, "it is not among the proofs"),
        ({"place": replace(certificate.place, height=1)}, "proof 1: it is not of"),
        ({"place": replace(certificate.place, block_time_ms=1)}, "proof 1: it is not of"),
    ):
        rows = {name: value for name, value in changed.items() if name in ("account", "product")}
        moved = replace(certificate, **changed)
        if rows:
            member = {"account": "account", "product": "product_code"}[next(iter(rows))]
            new = {member: next(iter(rows.values()))}
            moved = replace(
                moved,
                holdings=tuple(replace(each, **new) for each in moved.holdings),  # type: ignore[arg-type]
                encumbrances=tuple(replace(each, **new) for each in moved.encumbrances),  # type: ignore[arg-type]
            )
        assert said in refusal(signed_again(moved)), changed


def test_only_the_institutions_own_key_signs() -> None:
    register, certificate = case()
    by_clerk = issued(register, did=CLERK).encode()
    assert "the state knows no such key" in refusal(by_clerk)
    foreign = replace(certificate.signer, public_key=KEYS.public_key("stranger"))
    forged = replace(certificate, signer=foreign)
    forged = replace(forged, signature=KEYS.sign("stranger", forged.sign_bytes()))
    assert "the state knows no such key" in refusal(forged.encode())
    unsigned = replace(certificate, signature=bytes(64)).encode()
    assert "its signature does not hold" in refusal(unsigned)


def test_a_certificate_that_leaves_out_what_binds_the_shares_is_not_even_made() -> None:
    register = case()[0]
    for missing in sorted(FREEZES):
        with pytest.raises(ProofError, match="completeness of the encumbrances"):
            issued(register, numbers=FREEZES - {missing})
    with pytest.raises(ProofError, match="its encumbrances are not"):
        issued(register, numbers=FREEZES | {(PLEDGE, "=P-2")})
    with pytest.raises(ProofError, match="nothing is outstanding"):
        issued(register, numbers=FREEZES | {(PLEDGE, "P-1")})
    with pytest.raises(ProofError, match="the account holds nothing"):
        issued(register, ACCOUNTS[1], numbers=frozenset())


def test_proofs_of_what_it_does_not_say_are_refused() -> None:
    """Or a certificate could carry what somebody else holds."""
    register = case()[0]
    padded = issued(register, more=(holding_key(PRODUCT, ACCOUNTS[0]),)).encode()
    assert refusal(padded).endswith("its extracts prove more than it says")


def test_one_holding_at_one_height_has_one_number_and_others_have_others() -> None:
    register = busy()
    first, again = issued(register), issued(register)
    assert (first.number, first.code, first.digest) == (again.number, again.code, again.digest)
    other = issued(register, ACCOUNTS[0], numbers=frozenset([(PLEDGE, "=P-2")]))
    register.do(transfer(ACCOUNTS[0], ACCOUNTS[1], 1))
    later = issued(register)
    assert len({each.number for each in (first, other, later)}) == 3
    assert len({each.code for each in (first, other, later)}) == 3
    assert first.holdings == later.holdings


def test_a_certificate_has_one_form() -> None:
    data = case()[1].encode()
    value = json.loads(data)
    for changed in (
        data + b"\n",
        json.dumps(value).encode(),
        canonical_json({**value, "more": 1}),
        canonical_json({**value, "holdings": []}),
        canonical_json({**value, "proofs": []}),
        canonical_json({**value, "proofs": [value["proofs"][0] + "="]}),
        canonical_json({**value, "proofs": [base64.b64encode(b"GUQIAO").decode()]}),
        canonical_json({**value, "holdings": [{**value["holdings"][0], "total": True}]}),
        canonical_json({**value, "holdings": [{**value["holdings"][0], "confirmed": 1}]}),
        canonical_json({**value, "format": "guqiao-holding-certificate/2"}),
        b"{}",
    ):
        assert refusal(changed).startswith(("holding certificate:", "proof 1:"))


def test_no_name_stands_on_it() -> None:
    value = json.loads(case()[1].encode())
    assert not any("name" in part for path in places(value) for part in map(str, path))


# --- The verification code ------------------------------------------------------------------------


@given(st.binary(min_size=8, max_size=32))
def test_a_code_is_read_as_people_type_it(digest: bytes) -> None:
    code = code_of(digest)
    assert read_code(code) == code
    assert read_code(f" {code.lower().replace('-', ' ')} ") == code
    assert read_code(code.replace("0", "O").replace("1", "l")) == code


@given(st.binary(min_size=8, max_size=8), st.integers(0, 11), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_found(digest: bytes, at: int, other: str) -> None:
    typed = list(code_of(digest).replace("-", ""))
    if typed[at] != other:
        typed[at] = other
        assert read_code("".join(typed)) is None


@given(st.binary(min_size=8, max_size=8), st.integers(0, 11), st.integers(0, 11))
def test_two_characters_that_changed_places_are_found(digest: bytes, one: int, two: int) -> None:
    typed = list(code_of(digest).replace("-", ""))
    if typed[one] != typed[two]:
        typed[one], typed[two] = typed[two], typed[one]
        assert read_code("".join(typed)) is None


@pytest.mark.parametrize(
    "text", ["", "0", "U" * 14, "0" * 13, "0" * 15, "0" * 12 + "AA", "０" * 14]
)
def test_what_is_no_code_is_told(text: str) -> None:
    assert read_code(text) is None


# --- The command and the page ---------------------------------------------------------------------


def run(data: bytes, folder: Path, patch: pytest.MonkeyPatch, **options: Any) -> None:
    class Provider:
        def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
            return KEYS.verify(public_key, message, signature)

    def read(path: Path, provider: object) -> Trust:
        return case()[0].trust()

    patch.setattr(verifying, "open_provider", Provider)
    patch.setattr(verifying, "read_trust", read)
    (folder / "file").write_bytes(data)
    verifying.verify(folder / "file", folder / "trust", **{"as_json": True, **options})


def test_verify_accepts_it_and_tells_height_and_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register, certificate = case()
    run(certificate.encode(), tmp_path, monkeypatch, code=certificate.code.lower())
    said = json.loads(capsys.readouterr().out)
    assert (said["verified"], said["certificate"]) == (True, certificate.number)
    assert (said["code"], said["height"]) == (certificate.code, register.chain.header.height)
    assert said["age_seconds"] > 0
    assert said["holdings"][0]["total"] == 400
    assert all(each["holds"] for each in said["checks"])
    run(certificate.encode(), tmp_path, monkeypatch, as_json=False)
    assert certificate.number in capsys.readouterr().out


def test_verify_refuses_another_code_a_mistyped_one_and_a_changed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = case()[1].encode()
    with pytest.raises(CliError) as refused:
        run(data, tmp_path, monkeypatch, code=code_of(bytes(8)))
    assert refused.value.exit_code == EXIT_UNVERIFIED
    assert json.loads(capsys.readouterr().out)["checks"][-1]["holds"] is False
    for typed, what in ((case()[1].code[:-1], data), (case()[1].code, b"GUQIAOX1")):
        with pytest.raises(CliError) as refused:
            run(what, tmp_path, monkeypatch, code=typed)
        assert (refused.value.code, refused.value.exit_code) == ("REQUEST_MALFORMED", EXIT_USAGE)
    with pytest.raises(CliError) as refused:
        run(data.replace(b'"total":400', b'"total":401'), tmp_path, monkeypatch)
    assert refused.value.exit_code == EXIT_UNVERIFIED


def test_the_page_says_it_in_both_languages_and_nothing_in_it_is_live() -> None:
    register, certificate = case()
    page = page_of(certificate)
    for text in (certificate.number, certificate.code, HOLDER, PRODUCT, "轮候 Waiting", "400"):
        assert text in page
    assert "F-2" in page
    hostile = replace(certificate, account="<script>alert(1)</script>")
    assert "<script>" not in page_of(hostile)
    assert "http" not in page
    free = issued(register, ACCOUNTS[0], numbers=frozenset([(PLEDGE, "=P-2")]))
    assert "质押 pledge" in page_of(free)


def test_the_case_is_what_the_names_say() -> None:
    register = case()[0]
    listing = register.history().listing()
    assert listing.encumbrances > FREEZES
    facts = {
        fact.key: fact.value
        for fact in register.extract(listing.keys(), did=register.chain.did).facts
    }
    assert identity_key(register.chain.did).encode() in facts
    ProvenRegister.read(facts, listing).check_whole()
