"""The register of templates: who puts one in force, by which steps, and what is written of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.standing import NONE, Status
from services.consensus.domain.contracts.templates import TRANSITIONS, TemplatesContract
from tests.unit.contracts.memory_host import MemoryHost, Outcome
from tests.unit.templates.orders import orders
from tests.unit.templates.template_market import template
from tests.unit.templates.test_register_template import template as register


def party(name: str, organisation: str, *roles: str) -> Party:
    return Party(f"did:rem:{organisation}:{name}", "k1", organisation, frozenset(roles))


MARKET = party("market", "csrc", "csrc_market")
TECH = party("tech", "csrc", "csrc_tech")
MAKER = party("maker", "shandong", "operator_maker")
CHECKER = party("checker", "shandong", "operator_checker")
OTHERS = (party("m", "beijing", "operator_maker"), party("c", "beijing", "operator_checker"))
CSRC, OPERATOR = (MARKET, TECH), (MAKER, CHECKER)

COMMON: dict[str, Any] = template("subject").to_json()
EVIDENCE = {"tests": "1a" * 32, "risk_review": "2b" * 32}
NUMBER = "BA-2026-0001"
KEY = "template/own_transfer/00000000000000000001"


def own(version: int = 1, **changes: Any) -> dict[str, Any]:
    """A template of an operator's own."""
    value: dict[str, Any] = template("transfer").to_json()
    return value | {"id": "own_transfer", "class": "SELF", "version": version} | changes


def act(host: MemoryHost, who: tuple[Party, Party | None], method: str, **body: Any) -> Outcome:
    host.party, host.second_party = who
    return host.run(TemplatesContract(), method, body)


def define(host: MemoryHost, value: Json, **changes: Any) -> Outcome:
    return act(host, OPERATOR, "define", template=value, **(EVIDENCE | changes))


def step(host: MemoryHost, method: str, version: int = 1, **more: Any) -> Outcome:
    who = OPERATOR if method in ("file", "withdraw") else CSRC
    return act(host, who, method, id="own_transfer", version=version, **more)


def accepted(version: int = 1, host: MemoryHost | None = None, **changes: Any) -> MemoryHost:
    """A host on which this version is in force."""
    host = host or MemoryHost()
    for outcome in (
        define(host, own(version, **changes)),
        step(host, "file", version),
        step(host, "accept", version, filing_number=f"BA-2026-{version:04d}"),
    ):
        assert outcome.code is None, outcome
    return host


def record(host: MemoryHost, key: str = KEY) -> dict[str, Any]:
    """What is kept under a key; of a template also where it is in its life."""
    found, standing = host.get(key), host.get(key.replace("template/", "standing/", 1))
    assert isinstance(found, dict)
    assert isinstance(standing, dict)
    return found | standing


# --- COMMON ---------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-6")
def test_the_csrc_publishes_a_common_template_with_two_signatures() -> None:
    host = MemoryHost()
    outcome = act(host, CSRC, "publish", template=COMMON)
    assert outcome.code is None
    found = record(host, "template/subject/00000000000000000001")
    assert (found["status"], found["author"]) == ("PUBLISHED", MARKET.did)
    assert found["template"] == COMMON
    facts = {"id": "subject", "version": 1, "class": "COMMON", "digest": found["digest"]}
    assert found["digest"] == template("subject").digest.hex()
    assert outcome.events == [("template.published", facts)]


@pytest.mark.req("G2-08-6")
@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((MAKER, CHECKER), "ROLE_MISSING"),
        ((TECH, MARKET), "ROLE_MISSING"),
        ((MARKET, None), "CHECKER_MISSING"),
        ((MARKET, MARKET), "CHECKER_IS_MAKER"),
        ((MARKET, CHECKER), "ROLE_MISSING"),
        ((MARKET, party("t", "beijing", "csrc_tech")), "ROLE_MISSING"),
    ],
)
def test_nobody_else_publishes_accepts_gives_back_or_retires(
    who: tuple[Party, Party | None], code: str
) -> None:
    host = MemoryHost()
    assert act(host, who, "publish", template=COMMON).code == code
    for method in ("accept", "give_back", "retire"):
        assert act(host, who, method, id="own_transfer", version=1).code == code
    assert host.store == {}


def test_a_later_version_supersedes_and_says_whether_it_breaks() -> None:
    host = MemoryHost()
    assert act(host, CSRC, "publish", template=COMMON).code is None
    title = {"zh": "甲", "en": "a"}
    second = act(host, CSRC, "publish", template={**COMMON, "version": 2, "title": title})
    [(_, facts)] = second.events
    assert isinstance(facts, dict)
    assert (facts["supersedes"], facts["compatible"], facts["change_count"]) == (1, True, 1)
    assert record(host, "template/subject/00000000000000000001")["status"] == "SUPERSEDED"
    third = copy.deepcopy({**COMMON, "version": 3, "title": title})
    third["transitions"][5]["from"] = ["REGISTERED"]
    [(_, facts)] = act(host, CSRC, "publish", template=third).events
    assert isinstance(facts, dict)
    assert (facts["supersedes"], facts["compatible"]) == (2, False)
    place = "transitions.deregister.from.SUSPENDED"
    assert facts["changes"] == [{"place": place, "rule": "narrowed", "breaking": True}]
    assert record(host, "head/subject") == {
        "class": "COMMON", "organisation": "csrc", "latest": 3, "in_force": 3,
    }  # fmt: skip


def test_a_common_template_is_retired_for_good_with_a_reason() -> None:
    host = MemoryHost()
    act(host, CSRC, "publish", template=COMMON)
    named = {"id": "subject", "version": 1}
    assert act(host, CSRC, "retire", **named, reason="").code == "BODY_MALFORMED"
    [(topic, _)] = act(host, CSRC, "retire", **named, reason="由新模板替代").events
    assert topic == "template.retired"
    assert record(host, "head/subject")["in_force"] == 0
    again = act(host, CSRC, "retire", **named, reason="x")
    assert (again.code, again.fields["state"]) == ("ILLEGAL_TRANSITION", "RETIRED")
    following = act(host, CSRC, "publish", template={**COMMON, "version": 2})
    assert following.code is None
    body = following.events[0][1]
    assert isinstance(body, dict)
    assert "compatible" not in body


# --- SELF -----------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-7", "G2-16-5", "G2-16-6")
def test_an_operators_own_template_is_defined_filed_and_accepted_under_a_number() -> None:
    host = MemoryHost()
    defined = define(host, own())
    digest = read_template(own()).digest.hex()
    facts: dict[str, Json] = {
        "id": "own_transfer", "version": 1, "class": "SELF", "digest": digest,
    }  # fmt: skip
    signed = {**EVIDENCE, "reviewer": CHECKER.did}
    assert defined.events == [("template.defined", {**facts, **signed})]
    assert record(host)["status"] == "DEFINED"
    assert step(host, "file").events == [("template.filed", facts)]
    assert record(host)["status"] == "FILED"
    done = step(host, "accept", filing_number=NUMBER)
    assert done.events == [("template.filing_accepted", {**facts, "filing_number": NUMBER})]
    found = record(host)
    assert (found["status"], found["filing_number"]) == ("FILING_ACCEPTED", NUMBER)
    assert (found["author"], found["reviewer"], found["tests"]) == (
        MAKER.did, CHECKER.did, EVIDENCE["tests"],
    )  # fmt: skip
    assert record(host, f"filing/{NUMBER}") == {"id": "own_transfer", "version": 1}
    assert record(host, "head/own_transfer")["in_force"] == 1


@pytest.mark.req("G2-16-6")
@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((MARKET, TECH), "ROLE_MISSING"),
        ((MAKER, None), "CHECKER_MISSING"),
        ((MAKER, MAKER), "CHECKER_IS_MAKER"),
        ((MAKER, OTHERS[1]), "ROLE_MISSING"),
    ],
)
def test_no_author_reviews_the_risks_alone(who: tuple[Party, Party | None], code: str) -> None:
    host = MemoryHost()
    assert act(host, who, "define", template=own(), **EVIDENCE).code == code
    for method in ("file", "withdraw"):
        assert act(host, who, method, id="own_transfer", version=1).code == code


@pytest.mark.req("G2-16-5")
@pytest.mark.parametrize("member", ["tests", "risk_review"])
@pytest.mark.parametrize("value", ["", "1a" * 31, "1A" * 32, "1a" * 33, 7])
def test_evidence_is_a_digest(member: str, value: Json) -> None:
    assert define(MemoryHost(), own(), **{member: value}).code == "BODY_MALFORMED"
    body = {"template": own(), **EVIDENCE}
    del body[member]
    assert act(MemoryHost(), OPERATOR, "define", **body).code == "BODY_MALFORMED"


@pytest.mark.req("G2-08-7")
def test_what_is_given_back_is_defined_anew_and_filed_again() -> None:
    host = MemoryHost()
    define(host, own())
    step(host, "file")
    assert step(host, "give_back").code == "BODY_MALFORMED"
    assert step(host, "give_back", reason="补充测试报告").code is None
    assert (record(host)["status"], record(host)["reason"]) == ("FILING_RETURNED", "补充测试报告")
    assert define(host, own(title={"zh": "甲", "en": "a"})).code is None
    assert record(host)["reason"] is None
    assert step(host, "file").code is None
    assert step(host, "accept", filing_number=NUMBER).code is None


@pytest.mark.req("G2-08-7")
def test_every_step_that_the_life_cycle_does_not_list_is_refused() -> None:
    """Each status is reached as it is in life; then every step is tried."""
    ways: dict[str, list[tuple[str, dict[str, Any]]]] = {
        Status.DEFINED: [],
        Status.FILED: [("file", {})],
        Status.FILING_RETURNED: [("file", {}), ("give_back", {"reason": "x"})],
        Status.FILING_ACCEPTED: [("file", {}), ("accept", {"filing_number": NUMBER})],
        Status.WITHDRAWN: [
            ("file", {}), ("accept", {"filing_number": NUMBER}), ("withdraw", {"reason": "x"}),
        ],
    }  # fmt: skip
    more: dict[str, dict[str, Any]] = {
        "file": {}, "accept": {"filing_number": "BA-9"}, "give_back": {"reason": "x"},
        "retire": {"reason": "x"}, "withdraw": {"reason": "x"},
    }  # fmt: skip
    for status, way in ways.items():
        for method in (*more, "define"):
            host = MemoryHost()
            define(host, own())
            for taken, body in way:
                assert step(host, taken, **body).code is None
            assert record(host)["status"] == status
            outcome = (
                define(host, own()) if method == "define" else step(host, method, **more[method])
            )
            if status in TRANSITIONS[method]:
                assert outcome.code is None
                assert record(host)["status"] == TRANSITIONS[method][status]
            else:
                facts = {"state": status, "event": method}
                assert (outcome.code, outcome.fields) == ("ILLEGAL_TRANSITION", facts)
    assert NONE in TRANSITIONS["define"]


def test_a_filing_number_is_given_once_and_has_its_form() -> None:
    host = accepted()
    define(host, own(2))
    step(host, "file", 2)
    taken = step(host, "accept", 2, filing_number="BA-2026-0001")
    assert (taken.code, taken.fields) == ("FILING_NUMBER_TAKEN", {"number": "BA-2026-0001"})
    for number in ("", "ba-1", "B" * 33, 7, "BA 1"):
        assert step(host, "accept", 2, filing_number=number).code == "BODY_MALFORMED"
    assert step(host, "accept", 2, filing_number=NUMBER.replace("1", "2")).code is None


@pytest.mark.req("G2-14-4")
def test_an_accepted_version_supersedes_the_one_in_force_by_what_it_changes() -> None:
    parameters = own()["parameters"][:1]
    host = accepted()
    define(host, own(2, parameters=parameters))
    step(host, "file", 2)
    [(_, facts)] = step(host, "accept", 2, filing_number="BA-2").events
    assert isinstance(facts, dict)
    assert (facts["supersedes"], facts["compatible"]) == (1, False)
    assert record(host)["status"] == "SUPERSEDED"


def test_versions_follow_one_another_and_one_is_open_at_a_time() -> None:
    host = MemoryHost()
    wrong = define(host, own(2))
    assert (wrong.code, wrong.fields) == ("TEMPLATE_VERSION_WRONG", {"expected": 1})
    define(host, own())
    wrong = define(host, own(2))
    assert (wrong.code, wrong.fields) == ("TEMPLATE_VERSION_WRONG", {"expected": 1})
    host = accepted(2, accepted())
    assert define(host, own(4)).fields == {"expected": 3}
    step(host, "withdraw", 2, reason="不再使用")
    assert record(host, "head/own_transfer")["in_force"] == 0
    assert define(host, own(3)).code is None


def test_an_id_has_one_owner_and_one_class() -> None:
    host = accepted()
    taken = act(host, OTHERS, "define", template=own(2), **EVIDENCE)
    assert (taken.code, taken.fields) == ("TEMPLATE_ID_TAKEN", {"owner": "shandong"})
    assert act(host, CSRC, "publish", template=own(2, **{"class": "COMMON"})).code == taken.code
    define(host, own(2))
    assert act(host, OTHERS, "file", id="own_transfer", version=2).code == taken.code
    step(host, "file", 2)
    step(host, "accept", 2, filing_number=NUMBER.replace("1", "2"))
    named = {"id": "own_transfer", "version": 2, "reason": "x"}
    assert act(host, OTHERS, "withdraw", **named).code == taken.code


@pytest.mark.req("G2-08-4", "G2-08-6")
def test_only_a_conforming_template_of_the_right_class_is_kept() -> None:
    host = MemoryHost()
    wrong = act(host, CSRC, "publish", template=own())
    assert (wrong.code, wrong.fields) == ("TEMPLATE_CLASS_WRONG", {"wanted": "COMMON"})
    assert define(host, {**COMMON}).fields == {"wanted": "SELF"}
    malformed = define(host, own(orientation=[]))
    assert malformed.code == "TEMPLATE_MALFORMED"
    assert malformed.fields == {"rule": "list", "place": "orientation"}
    value = own()
    value["contract"] = COMMON["contract"]
    odd = define(host, value)
    assert odd.code == "TEMPLATE_NONCONFORMING"
    assert isinstance(odd.fields["count"], int)
    assert odd.fields["count"] > 5
    assert host.store == {}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": "Own"}, "BODY_MALFORMED"),
        ({"id": 7}, "BODY_MALFORMED"),
        ({"version": 0}, "BODY_MALFORMED"),
        ({"version": "1"}, "BODY_MALFORMED"),
        ({"more": 1}, "BODY_MALFORMED"),
        ({"version": 2}, "TEMPLATE_UNKNOWN"),
        ({"id": "other"}, "TEMPLATE_UNKNOWN"),
    ],
)
def test_a_step_names_a_version_that_exists(changes: dict[str, Any], code: str) -> None:
    host = MemoryHost()
    define(host, own())
    assert (
        act(host, OPERATOR, "file", **({"id": "own_transfer", "version": 1} | changes)).code == code
    )


# --- Formats --------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-4", "G2-08-7")
def test_format_2_is_kept_from_version_2_of_the_contract_on() -> None:
    host = MemoryHost(party=MAKER, second_party=CHECKER)
    body: dict[str, Any] = {"template": orders(), **EVIDENCE}
    other: dict[str, Any] = {"template": own(), **EVIDENCE}
    first = host.run(TemplatesContract(1), "define", body)
    assert (first.code, first.fields) == (
        "TEMPLATE_MALFORMED",
        {"rule": "unknown", "place": "arguments"},
    )
    assert not host.store
    assert host.run(TemplatesContract(2), "define", body).code is None
    assert record(host, "template/orders/00000000000000000001")["template"] == orders()
    assert host.run(TemplatesContract(2), "define", other).code is None


@pytest.mark.req("G2-08-4")
def test_a_template_of_a_contract_of_the_chains_own_is_not_published() -> None:
    host = MemoryHost(party=MARKET, second_party=TECH)
    outcome = host.run(TemplatesContract(2), "publish", {"template": register().to_json()})
    assert outcome.code == "TEMPLATE_MALFORMED"
    assert outcome.fields == {"rule": "own_not_deployed", "place": "own"}
