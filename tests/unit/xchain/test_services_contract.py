"""The service register: every field of a descriptor is required, and a name is taken once."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.services import ServicesContract
from tests.unit.contracts.memory_host import MemoryHost, Outcome
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.ledger_chain import make_pair

PUBLISHER = Party(
    "did:rem:shandong:SP1", "key-1", "did:rem:shandong:SP1", frozenset({"service_publisher"})
)
OTHER = Party(
    "did:rem:beijing:SP2", "key-1", "did:rem:beijing:SP2", frozenset({"service_publisher"})
)


def descriptor(**changes: Json) -> dict[str, Json]:
    good: dict[str, Json] = {
        "name": "company-search",
        "description": "查询已登记企业的公开信息，按统一社会信用代码检索。",
        "interface": {"openapi": "3.1.0", "paths": {"/companies": {}}},
        "permission": ["market:read"],
        "endpoint": "grpcs://gateway.shandong.example/services/company-search",
    }
    return good | changes


def register(host: MemoryHost, body: dict[str, Json], party: Party = PUBLISHER) -> Outcome:
    host.party = party
    return host.run(ServicesContract(), "register_service", body)


@pytest.mark.req("G2-22-4")
def test_a_complete_descriptor_is_registered_under_its_publisher() -> None:
    host = MemoryHost()
    outcome = register(host, descriptor())
    assert outcome.code is None
    assert [topic for topic, _ in outcome.events] == ["service.registered"]
    stored = host.get("company-search")
    assert isinstance(stored, dict)
    assert stored["publisher"] == PUBLISHER.did
    for field, value in descriptor().items():
        assert stored[field] == value


@pytest.mark.req("G2-22-4")
@pytest.mark.parametrize("field", ["name", "description", "interface", "permission", "endpoint"])
@pytest.mark.parametrize("how", ["absent", "null", "empty"])
def test_each_field_of_the_descriptor_is_required(field: str, how: str) -> None:
    body = descriptor()
    empties: dict[str, Json] = {"interface": {}, "permission": []}
    empty = empties.get(field, "")
    if how == "absent":
        del body[field]
    else:
        body[field] = None if how == "null" else empty
    host = MemoryHost()
    outcome = register(host, body)
    assert outcome.code == "DESCRIPTOR_FIELD_MISSING"
    assert outcome.fields == {"field": field}
    assert host.store == {}


@pytest.mark.req("G2-22-4")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Company Search"),
        ("name", "ab"),
        ("name", "a/b/c"),
        ("name", "a" * 65),
        ("description", "只有十九个字的描述是不够长的它要二十字"),
        ("description", "x" * 19 + " " * 20),
        ("description", "x" * 4_097),
        ("description", 7),
        ("interface", "see the web site"),
        ("interface", {"x": "y" * 262_144}),
        ("permission", "everyone"),
        ("permission", ["market read"]),
        ("permission", ["market:read", "market:read"]),
        ("permission", [1]),
        ("permission", [f"p{index}" for index in range(65)]),
        ("endpoint", "gateway.shandong.example"),
        ("endpoint", "file:///etc/passwd"),
        ("endpoint", "https://host/pa th"),
        ("endpoint", "https://" + "h" * 600),
    ],
)
def test_a_field_whose_value_is_wrong_is_refused_naming_it(field: str, value: Json) -> None:
    host = MemoryHost()
    outcome = register(host, descriptor(**{field: value}))
    assert (outcome.code, outcome.fields["field"]) == ("DESCRIPTOR_FIELD_INVALID", field)
    assert host.store == {}


@pytest.mark.req("G2-22-4")
def test_a_description_of_twenty_characters_is_long_enough() -> None:
    assert register(MemoryHost(), descriptor(description="二" * 20)).code is None


@pytest.mark.req("G2-22-4")
def test_a_name_is_taken_once_whoever_asks() -> None:
    host = MemoryHost()
    assert register(host, descriptor()).code is None
    for party in (PUBLISHER, OTHER):
        outcome = register(host, descriptor(), party)
        assert outcome.code == "SERVICE_NAME_TAKEN"
        assert outcome.fields["publisher"] == PUBLISHER.did


def test_an_unknown_member_is_refused() -> None:
    outcome = register(MemoryHost(), descriptor(price=1))
    assert (outcome.code, outcome.fields["field"]) == ("BODY_MALFORMED", "price")


def test_only_a_service_publisher_registers() -> None:
    party = Party("did:rem:shandong:X", "key-1", "did:rem:shandong:X", frozenset({"relayer"}))
    assert register(MemoryHost(), descriptor(), party).code == "ROLE_MISSING"


def test_the_name_under_which_genesis_keeps_the_parameters_is_refused_on_the_real_ledger() -> None:
    _, csrc = make_pair(FakeKeys())
    before = csrc.value("services/parameters")
    receipt = csrc.call("services", "register_service", descriptor(name="parameters"))
    assert receipt.code == "DESCRIPTOR_FIELD_INVALID"
    assert csrc.value("services/parameters") == before
    assert csrc.call("services", "register_service", descriptor()).code == ""
