"""Rosters of thousands: judged by the rules like small ones, and sent to the regulator in parts."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.object_parts import join_parts, part_of, split_body
from guqiao_sdk.proof.packet import PACKET_PAYLOAD_BYTES_MAX
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX, SIGNATURES_MAX
from services.consensus.domain.contracts.register.contract import OPERATIONS, RegisterContract
from services.consensus.domain.contracts.register.data_objects import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from tests.unit.contracts.changed_rules import constant
from tests.unit.contracts.memory_host import MemoryHost, Outcome
from tests.unit.contracts.register_market import (
    DIGEST,
    Market,
    company_registration,
    company_row,
    entry,
    evidence,
    investor_row,
    market_body,
    opening,
    product_code,
    product_row,
    registration,
)

ALL = RegisterContract(version=99, operations=tuple(OPERATIONS))
ENTRIES_MAX = constant("ENTRIES_MAX")
ENTRIES_IN_TRANSACTION = 9_000
TIME = "2025-09-01T10:00:00+08:00"


@cache
def crowd() -> dict[str, bytes]:
    """The state of a market with as many open accounts as a transaction has room for."""
    host = Market(contract=ALL, holder_cap=1_000_000).host
    products = [product_row(number, company_ref="C1") for number in range(3, 6)]
    for at, row in enumerate(products):
        row["registered_shares"] = (ENTRIES_MAX, ENTRIES_MAX + 1, ENTRIES_IN_TRANSACTION)[at]
    run(host, "put_products", {"products": products})
    for start in range(0, ENTRIES_IN_TRANSACTION, 200):
        rows: list[Json] = [investor_row(number) for number in range(start, start + 200)]
        run(host, "put_investors", {"investors": rows})
    for number in range(ENTRIES_IN_TRANSACTION):
        run(host, "open_account", opening(number))
    run(host, "register_company", company_registration(1))
    return host.store


def run(host: MemoryHost, method: str, body: dict[str, Any]) -> Outcome:
    outcome = host.run(ALL, method, body, time=TIME)
    assert outcome.code is None, (method, outcome.code, outcome.fields)
    return outcome


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost(store=dict(crowd()))


def roster_of(count: int, product: int, **changes: Any) -> dict[str, Any]:
    entries = [entry(f"Q{number:09}", 1) for number in range(count)]
    return registration(*entries, product=product, total_shares=count, **changes)


def issue_of(count: int, before: int, **changes: Any) -> dict[str, Any]:
    entries = [
        {"account": f"Q{number:09}", "nature": "41", "shares": 1, "restricted_until": None}
        for number in range(count)
    ]
    totals = {"total_before": before, "total_after": before + count}
    body = {"product_code": product_code(3), **totals, "entries": entries}
    return {**body, "evidence": evidence("capital_increase"), **changes}


@pytest.mark.req("N0-17")
def test_a_roster_is_accepted_up_to_its_limit_and_refused_above_it_by_that_name(
    host: MemoryHost,
) -> None:
    before = dict(host.store)
    above = host.run(ALL, "initial_registration", roster_of(ENTRIES_MAX + 1, 4), time=TIME)
    assert (above.code, above.packets) == ("LIMIT_EXCEEDED", [])
    assert above.fields == {"limit": "register_entries", "maximum": ENTRIES_MAX}
    assert host.store == before
    run(host, "initial_registration", roster_of(ENTRIES_MAX, 3))
    above = host.run(ALL, "capital_increase", issue_of(ENTRIES_MAX + 1, ENTRIES_MAX), time=TIME)
    assert (above.code, above.packets) == ("LIMIT_EXCEEDED", [])
    run(host, "capital_increase", issue_of(ENTRIES_MAX, ENTRIES_MAX))


def spoilt(**changes: Any) -> dict[str, Any]:
    """A roster as large as a transaction holds, in whose last entry something is wrong."""
    body = roster_of(ENTRIES_IN_TRANSACTION, 5)
    body["roster"][-1].update(changes)
    return body


@pytest.mark.req("N0-17")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (spoilt(shares=0), "AMOUNT_NOT_POSITIVE"),
        ({**spoilt(), "evidence": []}, "EVIDENCE_MISSING"),
        ({**spoilt(), "product_code": "none"}, "PRODUCT_UNKNOWN"),
        ({**spoilt(), "product_code": product_code(2)}, "COMPANY_UNKNOWN"),
        (spoilt(account="Q000000000"), "ROSTER_ENTRY_DUPLICATE"),
        (spoilt(account="Q999999999"), "ACCOUNT_UNKNOWN"),
        (spoilt(nature="99"), "SHARE_NATURE_INVALID"),
        (spoilt(shares=2), "REGISTER_TOTAL_MISMATCH"),
        (spoilt(), "LIMIT_EXCEEDED"),
    ],
)
def test_the_rules_judge_what_fits_a_transaction_before_any_limit_does(
    host: MemoryHost, body: dict[str, Any], code: str
) -> None:
    assert len(canonical_json(body)) < PAYLOAD_BYTES_MAX
    before = dict(host.store)
    outcome = host.run(ALL, "initial_registration", body, time=TIME)
    assert (outcome.code, outcome.packets, outcome.events) == (code, [], [])
    assert host.store == before


@pytest.mark.req("N0-17")
def test_a_large_roster_above_the_holder_cap_has_the_code_of_the_cap(host: MemoryHost) -> None:
    market: Any = host.get("market")
    market["rules"]["holder_cap"] = ENTRIES_IN_TRANSACTION - 1
    host.put("market", market)
    outcome = host.run(ALL, "initial_registration", spoilt(), time=TIME)
    assert (outcome.code, outcome.packets) == ("HOLDER_CAP_EXCEEDED", [])
    run(host, "initial_registration", roster_of(ENTRIES_MAX, 3))
    issue = issue_of(ENTRIES_IN_TRANSACTION, ENTRIES_MAX)
    assert host.run(ALL, "capital_increase", issue, time=TIME).code == "HOLDER_CAP_EXCEEDED"


# Parts


def objects_of(outcome: Outcome) -> list[dict[str, Any]]:
    assert {port for port, _ in outcome.packets} == {"data_object"}
    found: list[Any] = [value for _, value in outcome.packets]
    return found


@pytest.mark.req("N0-07", "N0-17")
def test_the_parts_of_a_large_roster_each_fit_a_packet_and_rebuild_the_whole(
    host: MemoryHost,
) -> None:
    outcome = run(host, "initial_registration", roster_of(ENTRIES_MAX, 3))
    objects = objects_of(outcome)
    first = f"shandong:registration:{host.transaction}"
    assert [value["header"]["content"]["object_id"] for value in objects] == [
        first,
        *(f"{first}:{number}" for number in range(2, len(objects) + 1)),
    ]
    assert len(objects) > 4
    for number, value in enumerate(objects, start=1):
        part = part_of(value)
        assert part is not None
        assert (part.of, part.number, part.count) == (first, number, len(objects))
        assert len(canonical_json(sealed(value))) <= PACKET_PAYLOAD_BYTES_MAX
    whole: Any = join_parts(objects)
    assert whole == join_parts(objects[::-1])
    rolls = whole["registration_information"]["roll_records"]
    assert rolls["basic_information_roster"]["register_list_total"] == ENTRIES_MAX
    rows = rolls["register_shareholders"]
    assert [row["register_shareholder_account"] for row in rows] == [
        f"Q{number:09}" for number in range(ENTRIES_MAX)
    ]
    assert len(whole["documents"]) == 2


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """As the host seals it with the signatures of maker and checker."""
    key = {"type": "SM2", "value": "04" + "ab" * 64}
    seal = {"pub_key": key, "digest_algo": "SM3", "signature": "cd" * 64}
    return {**value, "header": {**value["header"], "seal": [seal] * SIGNATURES_MAX}}


@pytest.mark.req("N0-07", "N0-17")
def test_the_parts_of_a_large_issue_rebuild_every_changed_right(host: MemoryHost) -> None:
    run(host, "initial_registration", roster_of(ENTRIES_MAX, 3))
    objects = objects_of(run(host, "capital_increase", issue_of(2_000, ENTRIES_MAX)))
    whole: Any = join_parts(objects)
    rights = whole["registration_information"]["registration_rights"]["basic_information_rights"]
    numbers = [row["basic_information_description"]["register_serial_number"] for row in rights]
    assert numbers == [f"{host.transaction}-{number}" for number in range(1, 2_001)]
    assert whole["operation_detail"]["total_after"] == ENTRIES_MAX + 2_000


@pytest.mark.req("N0-07")
def test_a_payable_list_of_thousands_goes_in_parts_too(host: MemoryHost) -> None:
    run(host, "initial_registration", roster_of(ENTRIES_MAX, 3))
    body = {
        **{"dividend_no": "D1", "product_code": product_code(3), "per_share_li": 10},
        **{"pay_date": "2025-12-01", "evidence": evidence("dividend")},
    }
    objects = objects_of(run(host, "dividend", body))
    whole: Any = join_parts(objects)
    assert len(objects) > 1
    assert len(whole["capital_settlement_information"]["payable_lines"]) == ENTRIES_MAX


def registered_with(evidence_count: int, kind: str) -> Outcome:
    """A registration whose data object is as large as its evidence makes it."""
    market = Market()
    account = market.account(1)
    market.do("register_company", company_registration(1))
    more = [{"kind": "x", "digest": DIGEST}] * evidence_count
    body = registration(entry(account, 1_000))
    body["evidence"] = [*body["evidence"], *more, {"kind": kind, "digest": DIGEST}]
    return market.do("initial_registration", body)


@pytest.mark.req("N0-07")
def test_an_object_is_whole_up_to_the_limit_and_in_two_parts_one_byte_above_it() -> None:
    (empty,) = objects_of(registered_with(2_000, ""))
    left = BODY_BYTES_MAX - len(canonical_json(empty["body"]))
    extra = left // len('{"file_name":"x","hash":"","hash_algo":"SM3"},' + DIGEST)
    (nearly,) = objects_of(registered_with(2_000 + extra, ""))
    left = BODY_BYTES_MAX - len(canonical_json(nearly["body"]))
    (exact,) = objects_of(registered_with(2_000 + extra, "k" * left))
    assert len(canonical_json(exact["body"])) == BODY_BYTES_MAX
    assert part_of(exact) is None
    assert len(canonical_json(sealed(exact))) <= PACKET_PAYLOAD_BYTES_MAX
    parts = objects_of(registered_with(2_000 + extra, "k" * (left + 1)))
    assert len(parts) == 2
    assert len(join_parts(parts)["documents"]) == 2_000 + extra + 3  # type: ignore[arg-type]


def test_the_header_of_a_part_keeps_its_bound(host: MemoryHost) -> None:
    for value in objects_of(run(host, "initial_registration", roster_of(ENTRIES_MAX, 3))):
        assert len(canonical_json(sealed(value)["header"])) + 30 <= HEADER_BYTES_MAX


def test_small_objects_have_no_part_and_are_their_own_whole() -> None:
    (value,) = objects_of(registered_with(0, "x"))
    assert part_of(value) is None
    assert join_parts([value]) == value["body"]
    assert split_body(value["body"], bytes_max=BODY_BYTES_MAX) == [value["body"]]


def test_parts_that_are_missing_foreign_doubled_or_changed_rebuild_nothing() -> None:
    first, second = objects_of(registered_with(3_000, "x"))
    wrong: Any
    (whole,) = objects_of(registered_with(0, "x"))
    changed = json.loads(json.dumps(second))
    changed["body"]["documents"] = [{}]
    foreign = json.loads(json.dumps(second))
    foreign["header"]["metadata"]["part"]["of"] += "0"
    for wrong in ([], [first], [first, first], [first, second, second], [first, whole]):
        with pytest.raises(MalformedError):
            join_parts(wrong)
    for wrong in ([first, changed], [first, foreign], [whole, whole], [1], [{"header": {}}]):
        with pytest.raises(MalformedError):
            join_parts(wrong)
    for fact in (None, {}, {"of": "x", "number": 3, "count": 2, "body_digest": ""}):
        spoilt_part = json.loads(json.dumps(first))
        spoilt_part["header"]["metadata"]["part"] = fact
        with pytest.raises(MalformedError):
            part_of(spoilt_part)


# Long texts


@pytest.mark.req("N0-05")
def test_rows_with_texts_of_any_length_are_taken_and_named_by_digest_where_they_are_sent() -> None:
    market, long = Market(), "长" * 60_000
    row = company_row(3, company_ref=long, name=long, industry="x" * TEXT_BYTES_MAX)
    product = product_row(3, company_ref=long, product_code="P" + long, short_name=long)
    market.do("put_companies", {"companies": [row]})
    market.do("put_products", {"products": [product]})
    account = market.account(1)
    sent = objects_of(market.do("register_company", {**REGISTERED, "company_ref": long}))
    text = json.dumps(sent, ensure_ascii=False)
    assert "长" * 100 not in text
    assert "x" * TEXT_BYTES_MAX in text
    body = registration(entry(account, 1_000), product_code="P" + long)
    market.do("initial_registration", body)
    assert market.code("initial_registration", body) == "PRODUCT_ALREADY_REGISTERED"
    other = {**body, "product_code": "P" + long + "x"}
    assert market.code("initial_registration", other) == "PRODUCT_UNKNOWN"


REGISTERED = company_registration(3)


@pytest.mark.req("N0-05")
def test_a_market_may_have_any_number_of_natures_event_keys_and_kinds_of_evidence() -> None:
    body = market_body()
    natures = {f"n{n}": {"label": "l" * 500, "forms": ["limited"] * 5} for n in range(1_000)}
    body["share_natures"] |= {**natures, "自" * 300: {"label": "", "forms": ["joint_stock"]}}
    body["evidence_required"] |= {f"key{n}": ["x" * 200] * 3 for n in range(500)}
    body["rules"]["excluded_region_prefixes"] = [f"37{n:04}" for n in range(1_000, 3_000)]
    host = MemoryHost()
    run(host, "configure_market", body)
    again = host.run(ALL, "configure_market", body, time=TIME)
    assert (again.code, again.events) == (None, [])
