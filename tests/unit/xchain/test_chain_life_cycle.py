"""The life of a chain's registration, step by step, and who takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from services.consensus.domain.contracts.identity_record import IdentityRecord
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BEIJING_CHECKER,
    BEIJING_MAKER,
    BEIJING_REGULATOR,
    BOTH_SIDES,
    BY_OPERATOR,
    CHECKER,
    MARKET_SIDE,
    OWN_REGULATOR,
    REASON,
    REGULATOR,
    TECH_SIDE,
    USCC,
    Registry,
    detail,
    nodes,
    registration,
    spoiled,
)

HANDOVER: Final = "7a" * 32


def named(registry: Registry, **more: Any) -> dict[str, Any]:
    return {"chain_id": "shandong", "digest": registry.digest(), **more}


# --- The way in -----------------------------------------------------------------------------------


@pytest.mark.req("G2-05-1", "G2-06-3", "G2-10-1")
def test_a_chain_becomes_active_by_operator_province_test_and_both_sides_of_the_csrc() -> None:
    registry = Registry.make().active()
    record = registry.record()
    assert registry.standing() == {
        "status": "ACTIVE", "version": 1, "height": registry.csrc.header.height,
    }  # fmt: skip
    assert record["countersigned"]["by"] == REGULATOR.did
    assert record["report"]["by"] == TECH_SIDE.did
    assert [each["url"] for each in record["report"]["probes"]] == [
        "https://10.1.0.1:8443", "https://10.1.0.2:8443",
    ]  # fmt: skip
    assert (record["approved"]["by"], record["approved"]["checker"]) == (
        MARKET_SIDE.did, TECH_SIDE.did,
    )  # fmt: skip


@pytest.mark.req("G2-10-1")
def test_approval_writes_what_the_light_client_starts_from() -> None:
    registry = Registry.make().bring("CONFORMANCE_PASSED")
    assert registry.advance().code == "CLIENT_UNKNOWN"
    receipt = registry.must("approve", BOTH_SIDES, **named(registry))
    [told] = events(receipt, "chain.registered")
    assert told == {"chain_id": "shandong", "genesis_hash": "ab" * 32}
    trust = registry.csrc.value("light_client/trust/shandong")
    assert isinstance(trust, dict)
    assert trust["replicas"] == [
        {"entity_id": each.entity_id, "entity_name": each.entity_name,
         "vote_key": each.public_key.hex()}
        for each in nodes().set.members
    ]  # fmt: skip
    assert registry.advance().accepted


@pytest.mark.req("G2-05-1")
@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((BEIJING_REGULATOR,), "CHAIN_PROVINCE_OTHER"),
        ((OWN_REGULATOR,), "CHAIN_PROVINCE_OTHER"),
        (BY_OPERATOR, "ROLE_MISSING"),
        (BOTH_SIDES, "ROLE_MISSING"),
    ],
)
def test_only_the_regulator_of_the_province_countersigns(
    who: tuple[IdentityRecord, ...], code: str
) -> None:
    registry = Registry.make().bring("SUBMITTED")
    assert registry.act("countersign", who, **named(registry)).code == code
    assert registry.status() == "SUBMITTED"
    skipped = registry.act("start_test", (TECH_SIDE,), **named(registry))
    assert skipped.code == "ILLEGAL_TRANSITION"


@pytest.mark.req("G2-10-1")
@pytest.mark.parametrize(
    ("status", "method", "right"),
    [
        ("PROVINCIAL_REVIEWED", "start_test", (TECH_SIDE,)),
        ("CONFORMANCE", "report", (TECH_SIDE,)),
        ("CONFORMANCE_PASSED", "approve", BOTH_SIDES),
    ],
)
def test_only_the_csrc_tests_and_approves(
    status: str, method: str, right: tuple[IdentityRecord, ...]
) -> None:
    registry = Registry.make().bring(status)
    body = registry.report() if method == "report" else named(registry)
    for who in ((MARKET_SIDE,), (REGULATOR,), BY_OPERATOR, (TECH_SIDE, MARKET_SIDE)):
        if who[0] is right[0]:
            continue
        expected = "CHECKER_MISSING" if (method, who) == ("approve", (MARKET_SIDE,)) else None
        receipt = registry.act(method, who, **body)
        assert receipt.code == (expected or "ROLE_MISSING")
    assert registry.status() == status
    registry.must(method, right, **body)


@pytest.mark.req("G2-06-3")
def test_an_assessment_that_ends_between_the_steps_blocks_them() -> None:
    value = spoiled("security_assessment.date", "2024-08-24")
    registry = Registry.make().bring("PROVINCIAL_REVIEWED", value)
    _next_day(registry)
    assert registry.act("start_test", (TECH_SIDE,), **named(registry)).code == "ASSESSMENT_EXPIRED"
    registry = Registry.make().bring("CONFORMANCE_PASSED", value)
    _next_day(registry)
    assert registry.act("approve", BOTH_SIDES, **named(registry)).code == "ASSESSMENT_EXPIRED"


def _next_day(registry: Registry) -> None:
    header = registry.csrc.header
    registry.csrc.header = replace(header, block_time_ms=header.block_time_ms + 86_400_000)


def test_what_was_reviewed_is_what_is_approved() -> None:
    registry = Registry.make().bring("SUBMITTED")
    wrong = {"chain_id": "shandong", "digest": "ab" * 32}
    receipt = registry.act("countersign", (REGULATOR,), **wrong)
    assert receipt.code == "CHAIN_REGISTRATION_OTHER"
    assert detail(receipt)["expected"] == registry.digest()


@pytest.mark.parametrize("who", [(REGULATOR,), BOTH_SIDES])
def test_what_is_given_back_is_mended_and_submitted_again(who: tuple[IdentityRecord, ...]) -> None:
    registry = Registry.make().bring("SUBMITTED")
    assert registry.act("give_back", who, **named(registry)).code == "BODY_MALFORMED"
    receipt = registry.must("give_back", who, **named(registry, reason=REASON))
    assert events(receipt, "chain.returned")[0]["reason"] == REASON
    assert registry.submit().code == "CHAIN_ID_TAKEN"
    other = registry.act("resubmit", (BEIJING_MAKER, BEIJING_CHECKER), registration=registration())
    assert other.code == "CHAIN_OWNER_OTHER"
    mended = spoiled("mlps.level", 4)
    assert registry.submit(mended, step="resubmit").accepted
    assert (registry.status(), registry.standing()["version"]) == ("SUBMITTED", 2)
    assert registry.record()["registration"]["mlps"]["level"] == 4


@pytest.mark.req("G2-10-2e", "G2-06-4")
def test_a_test_is_passed_if_every_node_answers_as_one_of_this_chain() -> None:
    registry = Registry.make().bring("CONFORMANCE")
    good = registry.report()
    probes = good["probes"]
    for wrong, fault in (
        (probes[:1], "no answer is reported"),
        ([], "no answer is reported"),
        ([*probes, {**probes[0], "url": "https://10.1.0.3:1"}], "not what is registered"),
        ([probes[0], {**probes[1], "chain_id": "beijing"}], "it serves another chain"),
        ([probes[0], {**probes[1], "height": 111}], "more than 10 heights behind"),
    ):
        receipt = registry.act("report", (TECH_SIDE,), **{**good, "probes": wrong})
        assert (receipt.code, detail(receipt)["fault"]) == ("RPC_PROBE_FAILED", fault)
    assert registry.act("report", (TECH_SIDE,), **{**good, "report": "x"}).code == (
        "CHAIN_FIELD_INVALID"
    )
    assert registry.act("report", (TECH_SIDE,), **{**good, "result": "GOOD"}).code == (
        "CHAIN_FIELD_INVALID"
    )
    registry.must("report", (TECH_SIDE,), **{**good, "probes": [
        probes[0], {**probes[1], "height": 110},
    ]})  # fmt: skip


def test_a_failed_test_is_begun_again_or_the_registration_is_given_back() -> None:
    registry = Registry.make().bring("CONFORMANCE")
    failed = registry.report(result="FAIL", probes=[])
    registry.must("report", (TECH_SIDE,), **failed)
    assert registry.status() == "CONFORMANCE_FAILED"
    assert registry.act("approve", BOTH_SIDES, **named(registry)).code == "ILLEGAL_TRANSITION"
    registry.must("start_test", (TECH_SIDE,), **named(registry))
    registry.must("report", (TECH_SIDE,), **failed)
    registry.must("give_back", BOTH_SIDES, **named(registry, reason=REASON))
    assert registry.status() == "RETURNED"


# --- One operator, one chain ----------------------------------------------------------------------


@pytest.mark.req("G2-06-2")
def test_a_second_independent_chain_is_a_duplicate() -> None:
    registry = Registry.make().active()
    receipt = registry.submit(registration("shandong-two"))
    assert receipt.code == "CHAIN_DUPLICATE_INDEPENDENT"
    assert detail(receipt)["known"] == "shandong"


@pytest.mark.req("G2-06-2")
def test_a_second_one_that_was_submitted_before_the_first_was_approved_is_found_at_approval() -> (
    None
):
    registry = Registry.make().bring("CONFORMANCE_PASSED", registration("shandong-two"))
    registry.active()
    body = {"chain_id": "shandong-two", "digest": registry.digest("shandong-two")}
    assert registry.act("approve", BOTH_SIDES, **body).code == "CHAIN_DUPLICATE_INDEPENDENT"


@pytest.mark.req("G2-06-2")
def test_the_csrc_may_write_down_a_reason_for_a_second_chain() -> None:
    registry = Registry.make().active()
    exempt = {"chain_id": "shandong-two", "operator_uscc": USCC[0], "reason": "业务隔离"}
    assert registry.act("exempt", BY_OPERATOR, **exempt).code == "ROLE_MISSING"
    assert registry.act("exempt", BOTH_SIDES, **{**exempt, "reason": ""}).code == "BODY_MALFORMED"
    registry.must("exempt", BOTH_SIDES, **{**exempt, "operator_uscc": USCC[3]})
    second = registration("shandong-two")
    assert registry.submit(second).code == "CHAIN_DUPLICATE_INDEPENDENT"
    receipt = registry.must("exempt", BOTH_SIDES, **exempt)
    assert events(receipt, "chain.exempted")[0]["reason"] == "业务隔离"
    assert registry.bring("ACTIVE", second).status("shandong-two") == "ACTIVE"


@pytest.mark.req("G2-06-2", "G2-06-1")
def test_a_sub_chain_names_the_chain_that_it_is_part_of() -> None:
    part = registration("shandong-two", parent_chain_id="shandong")
    assert Registry.make().submit(part).code == "CHAIN_FIELD_INVALID"
    registry = Registry.make().active().bring("ACTIVE", part)
    assert registry.status("shandong-two") == "ACTIVE"
    third = registration("shandong-three", parent_chain_id="shandong-two")
    assert registry.submit(third).code == "CHAIN_FIELD_INVALID"
    third = registration("shandong-three")
    assert registry.submit(third).code == "CHAIN_DUPLICATE_INDEPENDENT"


# --- Suspension and the end -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (BOTH_SIDES, ""),
        ((REGULATOR, TECH_SIDE), ""),
        ((REGULATOR, MARKET_SIDE), ""),
        ((REGULATOR,), "CHECKER_MISSING"),
        ((REGULATOR, CHECKER), "ROLE_MISSING"),
        ((BEIJING_REGULATOR, MARKET_SIDE), "CHAIN_PROVINCE_OTHER"),
        ((MARKET_SIDE,), "CHECKER_MISSING"),
        (BY_OPERATOR, "ROLE_MISSING"),
    ],
)
def test_the_csrc_suspends_or_the_province_with_its_approval(
    who: tuple[IdentityRecord, ...], code: str
) -> None:
    registry = Registry.make().active()
    body = {"chain_id": "shandong", "reason": "安全事件", "scope": "PACKETS"}
    assert registry.act("suspend", who, **body).code == code
    if code:
        assert registry.status() == "ACTIVE"
        return
    assert registry.standing()["reason"] == "安全事件"
    closed = {"chain_id": "shandong", "reason": "已整改"}
    assert registry.act("resume", who, **closed).code == "BODY_MALFORMED"
    assert registry.act("resume", who, **closed, cause_closed="x").code == "CHAIN_FIELD_INVALID"
    registry.must("resume", who, **closed, cause_closed="8b" * 32)
    assert registry.status() == "ACTIVE"


def test_a_suspension_has_a_reason_and_a_scope() -> None:
    registry = Registry.make().active()
    for wrong in ({"reason": "", "scope": "ALL"}, {"reason": "x", "scope": "SOME"}):
        receipt = registry.act("suspend", BOTH_SIDES, chain_id="shandong", **wrong)
        assert receipt.code in ("BODY_MALFORMED", "CHAIN_FIELD_INVALID")


def test_the_end_takes_operator_province_and_csrc() -> None:
    registry = Registry.make().active()
    end = {"chain_id": "shandong", "handover": HANDOVER}
    code = "DEREGISTRATION_INCOMPLETE"
    assert registry.act("deregister", BOTH_SIDES, **end).code == code
    assert registry.act("consent_deregistration", (REGULATOR,), **end).code == code
    asked = {**end, "reporting_path": "专线报送"}
    assert registry.act("request_deregistration", BOTH_SIDES, **asked).code == "ROLE_MISSING"
    registry.must("request_deregistration", BY_OPERATOR, **asked)
    assert registry.act("deregister", BOTH_SIDES, **end).code == code
    consent = registry.act("consent_deregistration", (BEIJING_REGULATOR,), **end)
    assert consent.code == "CHAIN_PROVINCE_OTHER"
    other = registry.act("consent_deregistration", (REGULATOR,), **{**end, "handover": "00" * 32})
    assert other.code == code
    registry.must("consent_deregistration", (REGULATOR,), **end)
    receipt = registry.must("deregister", BOTH_SIDES, **end)
    assert events(receipt, "chain.deregistered")[0]["reporting_path"] == "专线报送"
    assert registry.status() == "DEREGISTERED"
    assert registry.submit().code == "CHAIN_ID_TAKEN"
    assert registry.bring("ACTIVE", registration("shandong-two")).status() == "DEREGISTERED"


def test_a_new_request_needs_a_new_consent() -> None:
    registry = Registry.make().active()
    end = {"chain_id": "shandong", "handover": HANDOVER}
    asked = {**end, "reporting_path": "专线报送"}
    registry.must("request_deregistration", BY_OPERATOR, **asked)
    registry.must("consent_deregistration", (REGULATOR,), **end)
    registry.must("request_deregistration", BY_OPERATOR, **asked)
    assert registry.act("deregister", BOTH_SIDES, **end).code == "DEREGISTRATION_INCOMPLETE"
