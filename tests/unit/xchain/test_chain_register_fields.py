"""Every field of a chain's registration: what is missing or wrong is refused and named."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from guqiao_sdk.gm.certificates import CertificateAuthority
from guqiao_sdk.market_identifiers import is_uscc
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.regions import REGIONS
from services.consensus.domain.contracts.chain_registry.form import BFT_PROTOCOLS
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.authorisation import check_stateful
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BEIJING_CHECKER,
    BEIJING_MAKER,
    BOTH_SIDES,
    BY_OPERATOR,
    CHECKER,
    DROPPED,
    GENESIS_HASH,
    KEYS,
    MAKER,
    MARKET_SIDE,
    NOW,
    REGULATOR,
    TECH_SIDE,
    USCC,
    Registry,
    authority,
    certificate,
    detail,
    nodes,
    registration,
    spoiled,
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    """One chain for all refusals: none of them leaves anything behind."""
    return Registry.make()


def refused(registry: Registry, value: Any, code: str, **facts: Json) -> None:
    before = dict(registry.csrc.state.values)
    receipt = registry.submit(value)
    assert receipt.code == code, (receipt.code, receipt.detail)
    told = detail(receipt)
    assert {name: told.get(name) for name in facts} == facts
    assert {k: v for k, v in registry.csrc.state.values.items() if k.startswith(b"chains/")} == {
        k: v for k, v in before.items() if k.startswith(b"chains/")
    }


@pytest.mark.req("G2-10-1", "G2-10-2d")
def test_a_whole_registration_is_kept_as_it_was_stated() -> None:
    registry = Registry.make()
    receipt = registry.submit()
    assert receipt.accepted, (receipt.code, receipt.detail)
    record = registry.record()
    assert record["registration"] == registration()
    assert (record["submitted"]["by"], record["submitted"]["checker"]) == (MAKER.did, CHECKER.did)
    [told] = events(receipt, "chain.submitted")
    assert told == {
        "chain_id": "shandong", "version": 1, "status": "SUBMITTED", "digest": record["digest"],
    }  # fmt: skip
    assert events(receipt, "chain.entity_above_faulty_max") == []


def every_field(value: Any, path: str = "") -> list[str]:
    """The paths of all members, of arrays in their first row."""
    if isinstance(value, dict):
        return [
            found
            for name, each in value.items()
            for found in (f"{path}{name}", *every_field(each, f"{path}{name}."))
        ]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return every_field(value[0], f"{path}0.")
    return []


FIELDS = [each for each in every_field(registration()) if not each.startswith("responsible")]
NAMED = {each: each.replace(".0.", "[0].") for each in FIELDS}


@pytest.mark.req("G2-10-2a", "G2-10-2b", "G2-10-2c", "G2-10-2d", "G2-10-2e", "G2-06-3")
@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(registry: Registry, field: str) -> None:
    refused(registry, spoiled(field, DROPPED), "CHAIN_FIELD_MISSING", field=NAMED[field])


@pytest.mark.req("G2-10-2a")
@pytest.mark.parametrize(
    "field", ["platform.name", "platform.version", "platform.vm", "platform.crypto_suite"]
)
@pytest.mark.parametrize("value", ["", None])
def test_an_empty_field_is_a_missing_one(registry: Registry, field: str, value: Json) -> None:
    refused(registry, spoiled(field, value), "CHAIN_FIELD_MISSING", field=field)


def test_fields_that_nobody_knows_are_refused(registry: Registry) -> None:
    refused(registry, registration(more=1), "BODY_MALFORMED", field="more")
    refused(registry, spoiled("platform.more", 1), "BODY_MALFORMED", field="platform.more")
    refused(registry, 7, "CHAIN_FIELD_INVALID", field="registration")


@pytest.mark.req("G2-10-2c")
def test_the_id_of_a_chain_is_a_region_of_the_code_table(registry: Registry) -> None:
    assert len(REGIONS) == len(set(REGIONS.values())) == 35
    assert (REGIONS["shandong"], REGIONS["qingdao"], REGIONS["shenzhen"]) == ("SD", "TAO", "SZX")
    refused(registry, registration(chain_id="tibet"), "CHAIN_REGION_UNKNOWN", chain="tibet")
    refused(registry, registration(region_code="SH"), "CHAIN_REGION_UNKNOWN", region="SH")
    refused(registry, registration(chain_id="Shandong"), "CHAIN_FIELD_INVALID", field="chain_id")
    refused(registry, registration(chain_id=7), "CHAIN_FIELD_INVALID", field="chain_id")
    other = registration(chain_id="shanghai", region_code="SH")
    refused(registry, other, "CHAIN_PROVINCE_OTHER", province="shandong")


@pytest.mark.req("G2-10-2d")
@pytest.mark.parametrize(
    "field",
    ["operator.uscc", "registration_institution.uscc", "validators.2.entity.uscc"],
)
@pytest.mark.parametrize("wrong", [USCC[0][:-1] + "0", USCC[0][:-1], 7])
def test_a_credit_code_has_its_check_digit(registry: Registry, field: str, wrong: Json) -> None:
    assert not (isinstance(wrong, str) and is_uscc(wrong))
    named = field.replace(".2.", "[2].")
    refused(registry, spoiled(field, wrong), "USCC_INVALID", field=named)


def test_the_operator_is_who_signs_and_whose_code_it_has(registry: Registry) -> None:
    refused(
        registry, spoiled("operator.uscc", USCC[1]), "CHAIN_FIELD_INVALID", field="operator.did"
    )
    receipt = registry.act("submit", (BEIJING_MAKER, BEIJING_CHECKER), registration=registration())
    assert receipt.code == "CHAIN_OWNER_OTHER"


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((MAKER,), "CHECKER_MISSING"),
        ((MARKET_SIDE, CHECKER), "ROLE_MISSING"),
        ((MAKER, BEIJING_CHECKER), "ROLE_MISSING"),
        (BOTH_SIDES, "ROLE_MISSING"),
    ],
)
def test_two_persons_of_the_operator_register_it(
    registry: Registry, who: tuple[Any, ...], code: str
) -> None:
    assert registry.act("submit", who, registration=registration()).code == code


@pytest.mark.req("G2-05-3")
@pytest.mark.parametrize("number", range(3))
def test_somebody_is_responsible_for_each_function(registry: Registry, number: int) -> None:
    functions = ("OWNER", "SECURITY_OFFICER", "OPERATIONS_LEAD")
    value = registration()
    del value["responsible_persons"][number]
    refused(registry, value, "RESPONSIBLE_PERSON_MISSING", function=functions[number])
    for member in ("reference", "digest"):
        for wrong in (DROPPED, "", None):
            value = spoiled(f"responsible_persons.{number}.{member}", wrong)
            refused(registry, value, "RESPONSIBLE_PERSON_MISSING", function=functions[number])
    nothing: tuple[Json, ...] = ([], None, "")
    for empty in nothing:
        value = registration(responsible_persons=empty)
        refused(registry, value, "RESPONSIBLE_PERSON_MISSING", function="OWNER")


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize("member", ["name", "phone", "email", "id_number"])
def test_no_name_of_a_person_stands_in_the_clear(registry: Registry, member: str) -> None:
    value = spoiled(f"responsible_persons.1.{member}", "某某")
    place = f"$.responsible_persons[1].{member}"
    refused(registry, value, "TIER_NONPUBLIC_ONCHAIN", place=place)
    value = spoiled("responsible_persons.1.reference", "张某某")
    refused(registry, value, "CHAIN_FIELD_INVALID", field="responsible_persons[1].reference")
    value = spoiled("security_assessment.scope", "联系人 13812345678")
    refused(registry, value, "TIER_NONPUBLIC_ONCHAIN", kind="PHONE")


@pytest.mark.req("G2-07-1", "G2-10-2b")
@pytest.mark.parametrize("protocol", ["raft", "poa", "pow", "PBFT", "solo"])
def test_a_protocol_that_is_not_byzantine_is_refused(registry: Registry, protocol: str) -> None:
    assert "pbft" in BFT_PROTOCOLS
    value = spoiled("consensus.protocol", protocol)
    refused(registry, value, "CONSENSUS_NOT_BFT", protocol=protocol)


@pytest.mark.req("G2-10-2b")
@pytest.mark.parametrize(("member", "wrong"), [("n", 5), ("n", 3), ("f", 0), ("f", 2), ("n", "4")])
def test_n_and_f_are_those_of_the_keys(registry: Registry, member: str, wrong: Json) -> None:
    field = f"consensus.{member}"
    refused(registry, spoiled(field, wrong), "CHAIN_FIELD_INVALID", field=field)


@pytest.mark.req("G2-07-2")
def test_three_nodes_are_too_few(registry: Registry) -> None:
    value = spoiled("validators", lambda rows: rows[:3])
    value["consensus"] |= {"n": 3, "f": 0}
    refused(registry, value, "REPLICAS_TOO_FEW")


def of_entities(*numbers: int) -> dict[str, Any]:
    """A registration whose nodes belong to these entities, rightly certified."""
    value = registration()
    for index, number in enumerate(numbers):
        row, name = value["validators"][index], f"演示机构{number}"
        row["entity"] |= {"name": name, "uscc": USCC[number]}
        row["cert"] = certificate(nodes().name(index), USCC[number], name)
    return value


@pytest.mark.req("G2-16-3")
def test_several_entities_are_behind_the_keys(registry: Registry) -> None:
    refused(registry, of_entities(0, 0, 0, 0), "SINGLE_ENTITY_VALIDATORS")
    refused(registry, of_entities(0, 0, 0, 1), "ENTITY_HOLDS_QUORUM")


@pytest.mark.req("G2-16-3")
@pytest.mark.parametrize("numbers", [(0, 0, 1, 1), (0, 0, 1, 2)])
def test_an_entity_with_more_than_f_keys_is_a_warning(numbers: tuple[int, ...]) -> None:
    value = of_entities(*numbers)
    value["trusted_header"]["validator_set_hash"] = _set_hash(value)
    receipt = Registry.make().submit(value)
    assert receipt.accepted, (receipt.code, receipt.detail)
    [warned] = events(receipt, "chain.entity_above_faulty_max")
    assert warned["entities"] == sorted({USCC[each] for each in numbers if numbers.count(each) > 1})


def _set_hash(value: dict[str, Any]) -> str:
    members = tuple(
        Member(
            number, bytes.fromhex(row["sm2_pubkey"]), row["entity"]["uscc"], row["entity"]["name"]
        )
        for number, row in enumerate(value["validators"])
    )
    return ReplicaSet("shandong", 0, members).hash().hex()


@pytest.mark.req("G2-10-2d")
def test_a_node_proves_that_it_holds_its_key(registry: Registry) -> None:
    swapped = registration()
    rows = swapped["validators"]
    rows[0]["pop"], rows[1]["pop"] = rows[1]["pop"], rows[0]["pop"]
    refused(registry, swapped, "POSSESSION_UNPROVEN", node="node-0")
    refused(registry, spoiled("validators.3.node_id", "node-9"), "POSSESSION_UNPROVEN")
    elsewhere = registration("shandong-two")["validators"][2]["pop"]
    refused(registry, spoiled("validators.2.pop", elsewhere), "POSSESSION_UNPROVEN", node="node-2")
    refused(registry, spoiled("validators.2.pop", "00" * 64), "POSSESSION_UNPROVEN")
    refused(registry, spoiled("validators.2.node_id", "node-1"), "CHAIN_FIELD_INVALID")


def _other_key() -> str:
    return certificate("somebody else", USCC[2], "演示机构2")


@pytest.mark.req("G2-10-2d", "G2-19-5")
@pytest.mark.parametrize(
    ("make", "code", "fault"),
    [
        (_other_key, "CERTIFICATE_OF_OTHER", "another key"),
        (
            lambda: certificate(nodes().name(2), USCC[2], "别的机构"),
            "CERTIFICATE_OF_OTHER", "another name",
        ),
        (
            lambda: certificate(nodes().name(2), USCC[3], "演示机构2"),
            "CERTIFICATE_OF_OTHER", "another credit code",
        ),
        (
            lambda: certificate(nodes().name(2), USCC[2], "演示机构2", issuer="别的签发机构"),
            "CERTIFICATE_UNTRUSTED", None,
        ),
        (
            lambda: certificate(nodes().name(2), USCC[2], "演示机构2", days=-1),
            "CERTIFICATE_EXPIRED", None,
        ),
        (lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n", "CERTIFICATE_MALFORMED", "not one PEM"),
        (lambda: authority().certificate_pem.decode(), "CERTIFICATE_OF_OTHER", "another key"),
    ],
)  # fmt: skip
def test_a_certificate_is_of_the_entity_and_of_a_trusted_root(
    registry: Registry, make: Any, code: str, fault: str | None
) -> None:
    receipt = registry.submit(spoiled("validators.2.cert", make()))
    assert (receipt.code, detail(receipt)["node"]) == (code, "node-2")
    assert fault is None or str(detail(receipt)["fault"]).startswith(fault)


def test_a_certificate_that_names_the_right_issuer_but_was_not_signed_by_it_is_refused(
    registry: Registry,
) -> None:
    """Another authority of the very same name."""
    false = CertificateAuthority.create(
        KEYS.provider, KEYS.provider.keygen(), organisation="演示国密签发机构", common_name="root",
        not_before=NOW - timedelta(days=30), not_after=NOW + timedelta(days=9),
    )  # fmt: skip
    forged = false.issue(
        f"did:rem:shandong:{USCC[2]}.node", KEYS.public_key(nodes().name(2)),
        organisation="演示机构2", common_name="node",
        not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=9),
    ).decode()  # fmt: skip
    refused(registry, spoiled("validators.2.cert", forged), "CERTIFICATE_UNTRUSTED", node="node-2")


@pytest.mark.req("G2-10-2d")
def test_no_certificate_counts_before_its_root_and_after_it_is_gone() -> None:
    registry = Registry.make(trusts_root=False)
    assert registry.submit().code == "CERTIFICATE_UNTRUSTED"
    pem = authority().certificate_pem.decode()
    assert registry.act("trust_root", BY_OPERATOR, certificate=pem).code == "ROLE_MISSING"
    leaf = certificate(nodes().name(0), USCC[0], "演示机构0")
    assert registry.act("trust_root", BOTH_SIDES, certificate=leaf).code == "CERTIFICATE_UNTRUSTED"
    receipt = registry.must("trust_root", BOTH_SIDES, certificate=pem)
    fingerprint = events(receipt, "chain.root_trusted")[0]["fingerprint"]
    assert registry.submit().accepted
    wrong = registry.act("distrust_root", BOTH_SIDES, fingerprint="ab" * 32)
    assert wrong.code == "CHAIN_ROOT_UNKNOWN"
    registry.must("distrust_root", BOTH_SIDES, fingerprint=fingerprint)
    named = {"chain_id": "shandong", "digest": registry.digest()}
    registry.must("countersign", (REGULATOR,), **named)
    assert registry.act("start_test", (TECH_SIDE,), **named).code == "CERTIFICATE_UNTRUSTED"


@pytest.mark.req("G2-10-2e")
def test_two_full_nodes_on_distinct_hosts_are_listed(registry: Registry) -> None:
    code = "RPC_ENDPOINTS_TOO_FEW"
    refused(registry, spoiled("rpc_endpoints", lambda rows: rows[:1]), code, distinct=1)
    refused(registry, spoiled("rpc_endpoints.1.url", "https://10.1.0.1:9443"), code, distinct=1)
    refused(registry, spoiled("rpc_endpoints.1.host_id", "host-0"), code, distinct=1)
    refused(registry, spoiled("rpc_endpoints.1.node_id", "node-0"), code, distinct=1)


@pytest.mark.req("G2-10-2e", "G2-16-2")
@pytest.mark.parametrize(
    ("member", "wrong", "code"),
    [
        ("url", "http://10.1.0.1:8443", "CHAIN_FIELD_INVALID"),
        ("url", "https://10.1.0.1", "CHAIN_FIELD_INVALID"),
        ("url", "https://10.1.0.1:99999", "CHAIN_FIELD_INVALID"),
        ("url", "https://10.1.0.256:1", "CHAIN_FIELD_INVALID"),
        ("url", "https://u:p@10.1.0.1:1", "CHAIN_FIELD_INVALID"),
        ("url", "https://0x08080808:1", "CHAIN_FIELD_INVALID"),
        ("url", "https://134744072:1", "CHAIN_FIELD_INVALID"),
        ("url", "https://010.1.0.1:1", "CHAIN_FIELD_INVALID"),
        ("tls", "NONE", "CHAIN_FIELD_INVALID"),
        ("url", "https://8.8.8.8:8443", "NETWORK_PATH_PUBLIC"),
        ("url", "tlcp://[2001:db8::1]:8443", "NETWORK_PATH_PUBLIC"),
    ],
)
def test_an_endpoint_is_encrypted_and_off_the_internet(
    registry: Registry, member: str, wrong: str, code: str
) -> None:
    field = f"rpc_endpoints[0].{member}"
    refused(registry, spoiled(f"rpc_endpoints.0.{member}", wrong), code, field=field)


@pytest.mark.req("G2-16-2")
@pytest.mark.parametrize("path", ["INTERNET", "PUBLIC", 7, {"a": 1}, ["SFN"]])
def test_chains_are_linked_over_a_secure_network(registry: Registry, path: Json) -> None:
    value = registration(network_path=path)
    refused(registry, value, "NETWORK_PATH_PUBLIC", field="network_path")


@pytest.mark.req("G2-06-3")
def test_the_security_assessment_is_passed_and_a_year_old_at_most(registry: Registry) -> None:
    value = spoiled("security_assessment.result", "FAIL")
    refused(registry, value, "ASSESSMENT_FAILED", date="2025-07-01")
    value = spoiled("security_assessment.date", "2024-08-23")
    refused(registry, value, "ASSESSMENT_EXPIRED", date="2024-08-23", days_max=365)
    for date in ("2025-08-25", "2025-02-30", "20250701"):
        value = spoiled("security_assessment.date", date)
        refused(registry, value, "CHAIN_FIELD_INVALID", field="security_assessment.date")
    for standard in ("ISO 27001", {"a": 1}, ["MLPS"]):
        value = spoiled("security_assessment.standards", [standard])
        refused(registry, value, "CHAIN_FIELD_INVALID", field="security_assessment.standards")


@pytest.mark.req("G2-06-3")
@pytest.mark.parametrize("date", ["2024-08-24", "2025-08-24"])
def test_an_assessment_counts_on_its_first_and_last_day(date: str) -> None:
    assert Registry.make().submit(spoiled("security_assessment.date", date)).accepted


@pytest.mark.req("G2-09-2")
def test_a_chain_with_other_algorithms_is_refused(registry: Registry) -> None:
    value = spoiled("platform.crypto_suite", "ECDSA-SHA256-AES")
    refused(registry, value, "ALG_NOT_GM", algorithm="ECDSA-SHA256-AES")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("mlps.level", 6), ("mlps.last_test", "x"), ("genesis_hash", "00" * 32),
        ("genesis_hash", "ab"), ("epoch", -1), ("sub_networks", ["A B"]),
        ("trusted_header.validator_set_hash", "cd" * 32), ("trusted_header.hash", "cd" * 32),
        ("parent_chain_id", "shandong"), ("restart_authorities", {"csrc": 1}),
        ("validators.0.entity.type", "person"), ("validators.0.joined_at", "today"),
        ("validators.0.sm2_pubkey", "04" + "11" * 64), ("consensus.block_interval_ms", 0),
    ],
)  # fmt: skip
def test_a_field_of_another_form_is_named(registry: Registry, field: str, wrong: Any) -> None:
    named = field.replace(".0.", "[0].")
    refused(registry, spoiled(field, wrong), "CHAIN_FIELD_INVALID", field=named)


@pytest.mark.req("G2-10-2c")
def test_an_id_is_taken_once() -> None:
    registry = Registry.make()
    assert registry.submit().accepted
    assert registry.submit().code == "CHAIN_ID_TAKEN"
    registry = Registry.make()
    body = {"chain_id": "shandong", "genesis_hash": "cd" * 32, "epoch": 0}
    members = [
        {"entity_id": each.entity_id, "entity_name": each.entity_name,
         "vote_key": each.public_key.hex()}
        for each in nodes().set.members
    ]  # fmt: skip
    trusted: dict[str, Any] = {**body, "replicas": members}
    assert registry.csrc.call("light_client", "register_chain", trusted).accepted
    assert registry.submit().code == "CHAIN_ID_TAKEN"
    assert registration()["genesis_hash"] == GENESIS_HASH


@pytest.mark.req("G2-17-7")
def test_what_names_a_person_is_told_before_it_is_ordered(registry: Registry) -> None:
    for value in (
        spoiled("responsible_persons.0.name", "某某"),
        spoiled("platform.name", "电话 13800138000"),
    ):
        told = _told(registry, "submit", {"registration": value})
        assert told == "TIER_NONPUBLIC_ONCHAIN"
    reason: dict[str, Json] = {"chain_id": "shandong", "digest": "x", "reason": "13800138000"}
    assert _told(registry, "give_back", reason) == "TIER_NONPUBLIC_ONCHAIN"
    assert registry.act("give_back", BOTH_SIDES, **reason).code == "TIER_NONPUBLIC_ONCHAIN"
    assert _told(registry, "submit", {"registration": registration()}) is None


def _told(registry: Registry, method: str, body: dict[str, Json]) -> str | None:
    csrc = registry.csrc
    encoded = csrc.transaction("chains", method, body, signers=BY_OPERATOR)
    time_ms = csrc.header.block_time_ms
    found = check_stateful(csrc.state, read_transaction(encoded), block_time_ms=time_ms)
    return None if found is None else found.code
