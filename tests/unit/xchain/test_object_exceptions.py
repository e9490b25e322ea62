"""What the regulatory chain does not take is kept with the reason and can be sent again (SM-11)."""

from __future__ import annotations

from typing import Any

import pytest

from services.consensus.domain.contracts.object_life.exceptions import State, state_of
from tests.unit.xchain.object_regulator import MARK, OBJECT_ID, Regulator, reported

OTHER_ID = "shandong:account:" + "cd" * 32


def without(member: str) -> dict[str, Any]:
    value = reported()
    if member == "seal":
        value["header"]["seal"] = []
    else:
        del value["header"][member]
    return value


def again(first: Any, **changes: Any) -> dict[str, Any]:
    return reported(metadata={"resubmits": first}, **changes)


@pytest.mark.req("G2-19-4", "G2-19-5")
@pytest.mark.parametrize("member", ["source", "seal"])
def test_g31_an_object_without_mark_or_seal_is_refused(member: str) -> None:
    host = Regulator()
    refused = host.take(without(member))
    assert (refused["code"], refused["detail"]) == ("SOURCE_MISSING", {"field": f"header.{member}"})
    assert host.exception(1)["state"] == "PROOF_FAILED"
    assert host.latest() is None
    assert host.code(reported()) == ""


@pytest.mark.req("G2-19-4")
@pytest.mark.parametrize("member", [*MARK])
def test_a_mark_that_lacks_a_member_or_names_another_chain_is_refused(member: str) -> None:
    value = reported()
    value["header"]["source"] = {name: each for name, each in MARK.items() if name != member}
    refused = Regulator().take(value)
    assert refused["code"] == "SOURCE_MISSING"
    assert refused["detail"]["field"] == f"header.source.{member}"
    value["header"]["source"] = MARK | {"chain_id": "beijing"}
    assert Regulator().code(value) == "SOURCE_MISSING"


@pytest.mark.req("N0-42")
def test_an_exception_keeps_what_was_refused_and_why() -> None:
    host = Regulator()
    host.take(reported("update", 1))
    kept = host.exception(1)
    assert (kept["state"], kept["code"]) == ("SCHEMA_FAILED", "ILLEGAL_TRANSITION")
    assert (kept["object_id"], kept["version"]) == (OBJECT_ID, 1)
    assert (kept["resubmits"], kept["resubmitted_as"]) == (None, None)
    assert kept["detail"]["state"] == "ABSENT"
    assert host.events[-1] == ("object.refused", kept)


def test_the_state_of_an_exception_follows_from_its_code() -> None:
    expected = {
        "SOURCE_MISSING": State.PROOF_FAILED,
        "SEAL_UNCERTIFIED": State.PROOF_FAILED,
        "CERTIFICATE_REVOKED": State.PROOF_FAILED,
        "CHECKER_MISSING": State.PROOF_FAILED,
        "REF_MISSING": State.REF_MISSING,
        "SCHEMA_FAILED": State.SCHEMA_FAILED,
        "FORMAT_ENDED": State.SCHEMA_FAILED,
        "TIER_NONPUBLIC_ONCHAIN": State.SCHEMA_FAILED,
    }
    assert {code: state_of(code) for code in expected} == expected


@pytest.mark.req("N0-42")
def test_what_was_refused_is_accepted_when_it_comes_again() -> None:
    host = Regulator()
    host.take(without("source"))
    assert host.code(again(1)) == ""
    kept = host.exception(1)
    assert (kept["state"], kept["resubmitted_as"]) == ("ACCEPTED", 2)
    assert kept["code"] == "SOURCE_MISSING"
    topics = [topic for topic, _ in host.events[-2:]]
    assert topics == ["object.recorded", "object.exception_changed"]
    assert host.latest() == {"version": 0, "status": "CURRENT"}


@pytest.mark.req("N0-42")
def test_what_is_refused_again_stays_open_under_its_first_sequence() -> None:
    host = Regulator()
    host.take(without("source"))
    bad = again(1)
    bad["header"]["seal"] = []
    host.take(bad)
    first, second = host.exception(1), host.exception(2)
    assert (first["state"], first["resubmitted_as"]) == ("RESUBMITTED", 2)
    assert (second["state"], second["resubmits"]) == ("PROOF_FAILED", 1)
    assert host.code(again(2)) == "ILLEGAL_TRANSITION"
    assert host.exception(1)["state"] == "RESUBMITTED"
    assert host.code(again(1)) == ""
    assert (host.exception(1)["state"], host.exception(1)["resubmitted_as"]) == ("ACCEPTED", 4)


def test_nothing_is_resubmitted_that_is_not_open() -> None:
    host = Regulator()
    assert host.take(again(7))["detail"]["state"] == "ABSENT"
    host.take(without("source"))
    assert host.code(again(2)) == ""
    refused = host.take(again(2))
    assert (refused["code"], refused["detail"]["state"]) == ("ILLEGAL_TRANSITION", "ACCEPTED")
    assert host.exception(4)["resubmits"] is None
    assert host.exception(2)["state"] == "ACCEPTED"


def test_a_resubmission_is_of_the_object_that_was_refused() -> None:
    host = Regulator()
    host.take(without("source"))
    refused = host.take(again(1, object_id=OTHER_ID))
    assert refused["code"] == "SCHEMA_FAILED"
    assert refused["detail"]["field"] == "header.metadata.resubmits"
    assert host.exception(1)["state"] == "PROOF_FAILED"
    assert host.latest(OTHER_ID) is None


@pytest.mark.parametrize("first", [0, -1, True, "1", 1 << 53, [1]])
def test_what_is_no_sequence_is_refused(first: Any) -> None:
    refused = Regulator().take(again(first))
    assert refused["code"] == "SCHEMA_FAILED"
    assert refused["detail"]["field"] == "header.metadata.resubmits"


@pytest.mark.req("G2-17-7")
def test_g33_of_an_object_with_a_number_of_a_person_nothing_is_kept() -> None:
    host = Regulator()
    host.take(reported(body={"telephone": "13800138000"}))
    kept = host.exception(1)
    assert (kept["code"], kept["object_id"], kept["version"]) == (
        "TIER_NONPUBLIC_ONCHAIN",
        None,
        None,
    )
    assert host.code(again(1, object_id=OTHER_ID)) == ""


@pytest.mark.req("N0-42")
def test_a_payload_that_cannot_be_read_is_an_exception_of_no_object() -> None:
    host = Regulator()
    host.take([])
    kept = host.exception(1)
    assert (kept["state"], kept["object_id"], kept["resubmits"]) == ("SCHEMA_FAILED", None, None)


def test_an_exception_of_before_is_closed_as_well() -> None:
    """Version 1 kept neither the state nor the object of what it refused."""
    host = Regulator()
    host.put(f"exception/shandong/data_object/{1:020d}", {"code": "SCHEMA_FAILED", "sequence": 1})
    host.sequence = 1
    assert host.code(again(1)) == ""
    assert host.exception(1) == {
        "code": "SCHEMA_FAILED",
        "sequence": 1,
        "state": "ACCEPTED",
        "resubmitted_as": 2,
    }
