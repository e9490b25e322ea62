"""Registered keys and signing keys: what happens when they part, and what is believed then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from guqiao_sdk import rules
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.chain_registry.changing import (
    close_migration,
    open_migration,
)
from services.consensus.domain.contracts.chain_registry.form import registration_digest
from services.consensus.domain.contracts.chain_registry.standing import CHAINS
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client import certified_header, consensus_state
from services.consensus.domain.contracts.packets_host import system_host
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BEIJING_CHECKER,
    BEIJING_MAKER,
    BOTH_SIDES,
    BY_OPERATOR,
    REGULATOR,
    TECH_SIDE,
    Nodes,
    Registry,
    certificate,
    detail,
    nodes,
    registration,
    spoiled,
    with_keys_of,
)

SUSPENSION = {"chain_id": "shandong", "reason": "安全事件", "scope": "PACKETS"}
CLOSED = {"chain_id": "shandong", "reason": "已整改", "cause_closed": "8b" * 32}


@dataclass(frozen=True)
class ProbesContract:
    """What other contracts ask of the light client and of `chains`."""

    name: str = "probes"
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        return {"state": state, "header": header, "migrate": migrate, "migrated": migrated}


def state(host: Host, body: Mapping[str, Json]) -> None:
    height = body["height"]
    assert isinstance(height, int)
    consensus_state(system_host(host), str(body["chain"]), height)


def header(host: Host, body: Mapping[str, Json]) -> None:
    certified_header(system_host(host), "shandong", body, "")


def migrate(host: Host, body: Mapping[str, Json]) -> None:
    system, target = system_host(host), body["target"]
    name = None if target is None else str(target)
    system.within(CHAINS, lambda: open_migration(system, "shandong", target=name))


def migrated(host: Host, body: Mapping[str, Json]) -> None:
    system = system_host(host)
    system.within(CHAINS, lambda: close_migration(system, "shandong"))


def make() -> Registry:
    """A chain in force whose light client knows a header."""
    registry = Registry.make(ProbesContract()).active()
    assert registry.advance().accepted
    return registry


def proves(registry: Registry) -> str:
    """The code of a proof against the latest header that the client knows."""
    body: dict[str, Json] = {"chain": "shandong", "height": registry.height}
    return registry.csrc.call("probes", "state", body).code


def packets(registry: Registry) -> str:
    body: dict[str, Json] = {"source": "shandong", "height": registry.height, "packets": []}
    return registry.csrc.call("packets", "receive", body).code


def certifies(registry: Registry) -> str:
    last = registry.market.header(registry.height + 1)
    body = {
        "header": last.encode().hex(),
        "certificate": registry.market.certify(last).encode().hex(),
    }
    return registry.csrc.call("probes", "header", body).code


def update(registry: Registry, value: Any, who: Any = BY_OPERATOR) -> Receipt:
    return registry.act("update", who, chain_id="shandong", registration=value)


def accept(registry: Registry, value: Any, **changes: Any) -> Receipt:
    return registry.act("accept_update", (TECH_SIDE,), **registry.report(value, **changes))


# --- Drift ----------------------------------------------------------------------------------------


@pytest.mark.req("G2-10-3")
def test_a_set_change_without_an_update_opens_a_task_in_that_very_block() -> None:
    registry = make()
    assert (proves(registry), packets(registry), certifies(registry)) == ("", "", "")
    receipt = registry.advance(changes_set=True)
    [told] = events(receipt, "chain.registration_stale")
    assert (told["chain_id"], told["epoch"], told["due"]) == ("shandong", 1, "2025-08-25")
    assert told["opened_height"] == registry.csrc.header.height
    assert told["set_hash"] == registry.market.set.hash().hex()
    assert registry.status() == "STALE"
    assert registry.csrc.value("chains/stale/shandong") == {
        name: told[name] for name in ("due", "epoch", "opened_height", "opened_ms", "set_hash")
    }


@pytest.mark.req("G2-10-3")
def test_nothing_of_a_stale_chain_is_believed_until_its_registration_is_updated() -> None:
    registry = make()
    registry.advance(changes_set=True)
    assert registry.advance().code == "REGISTRATION_STALE"
    registry.height -= 2
    codes = {proves(registry), packets(registry), certifies(registry)}
    assert codes == {"REGISTRATION_STALE"}
    later = with_keys_of(registration(), 1)
    assert update(registry, later).accepted
    assert registry.status() == "STALE"
    receipt = accept(registry, later)
    assert receipt.accepted, (receipt.code, receipt.detail)
    assert events(receipt, "chain.updated")[0]["version"] == 2
    assert (registry.status(), registry.record()["registration"]) == ("ACTIVE", later)
    assert registry.record()["report"]["result"] == "PASS"
    task = registry.csrc.value("chains/stale/shandong")
    assert isinstance(task, dict)
    assert task["closed_height"] == registry.csrc.header.height
    assert registry.advance().accepted
    assert (proves(registry), packets(registry)) == ("", "")


def test_a_stale_chain_is_followed_through_set_changes_and_updated_to_the_last() -> None:
    registry = make()
    registry.advance(changes_set=True)
    assert registry.advance(changes_set=True).accepted
    assert registry.status() == "STALE"
    first, second = (with_keys_of(registration(), epoch) for epoch in (1, 2))
    assert update(registry, first).accepted
    assert accept(registry, first).code == "REGISTRATION_STALE"
    assert update(registry, second).accepted
    assert accept(registry, first).code == "CHAIN_REGISTRATION_OTHER"
    assert accept(registry, second).accepted
    assert registry.status() == "ACTIVE"


@pytest.mark.req("G2-10-3")
def test_a_set_that_was_stated_and_probed_before_is_no_drift() -> None:
    registry = make()
    later = with_keys_of(registration(), 1)
    assert update(registry, later).accepted
    receipt = accept(registry, later)
    assert events(receipt, "chain.update_awaited")
    assert registry.record()["registration"] == registration()
    receipt = registry.advance(changes_set=True)
    assert events(receipt, "chain.updated")[0]["version"] == 2
    assert not events(receipt, "chain.registration_stale")
    assert (registry.status(), registry.record()["registration"]) == ("ACTIVE", later)
    assert proves(registry) == ""


def test_a_set_that_was_stated_and_not_probed_is_a_drift() -> None:
    registry = make()
    later = with_keys_of(registration(), 1)
    assert update(registry, later).accepted
    assert events(registry.advance(changes_set=True), "chain.registration_stale")
    assert accept(registry, later).accepted
    assert registry.status() == "ACTIVE"


def test_a_set_change_with_the_keys_that_are_registered_is_no_drift() -> None:
    """Such as one after a jailing: another epoch, the same keys."""
    registry = Registry.make(ProbesContract()).active()

    @dataclass(frozen=True)
    class SameKeys(Nodes):
        def name(self, index: int) -> str:
            return f"{self.chain_id}/0/{index}"

    registry.market = SameKeys(registry.market.keys)
    receipt = registry.advance(changes_set=True)
    assert receipt.accepted, receipt.code
    assert registry.market.set.epoch == 1
    assert not events(receipt, "chain.registration_stale")
    assert registry.status() == "ACTIVE"


@pytest.mark.req("G2-10-3")
def test_a_calendar_without_the_year_leaves_the_day_open_and_stops_nothing() -> None:
    registry = make()
    for year in range(2025, 2028):
        registry.csrc.state.values.pop(f"calendar/year/{year}".encode(), None)
    [told] = events(registry.advance(changes_set=True), "chain.registration_stale")
    assert told["due"] is None


# --- Updates --------------------------------------------------------------------------------------


@pytest.mark.req("G2-16-3")
def test_an_update_that_gives_an_entity_more_than_f_keys_is_warned_of() -> None:
    registry, later = make(), with_keys_of(registration(), 1)
    rows = later["validators"]
    rows[1]["entity"] = rows[0]["entity"]
    entity = rows[0]["entity"]
    rows[1]["cert"] = certificate(nodes(epoch=1).name(1), entity["uscc"], entity["name"])
    members = tuple(
        Member(
            number, bytes.fromhex(row["sm2_pubkey"]), row["entity"]["uscc"], row["entity"]["name"]
        )
        for number, row in enumerate(rows)
    )
    later["trusted_header"]["validator_set_hash"] = ReplicaSet("shandong", 1, members).hash().hex()
    receipt = update(registry, later)
    assert receipt.accepted, (receipt.code, receipt.detail)
    [warned] = events(receipt, "chain.entity_above_faulty_max")
    assert warned == {"chain_id": "shandong", "entities": [entity["uscc"]]}
    without = update(make(), with_keys_of(registration(), 1))
    assert not events(without, "chain.entity_above_faulty_max")


@pytest.mark.req("G2-10-3")
def test_what_concerns_no_key_is_in_force_at_once() -> None:
    registry = make()
    receipt = update(registry, spoiled("data_model_version", "guqiao-2"))
    assert events(receipt, "chain.updated")[0]["version"] == 2
    record = registry.record()
    assert record["registration"]["data_model_version"] == "guqiao-2"
    assert "approved" in record
    again = update(registry, spoiled("data_model_version", "guqiao-2"))
    assert (again.accepted, again.events) == (True, ())
    assert accept(registry, registration()).code == "CHAIN_UPDATE_UNKNOWN"


@pytest.mark.req("G2-10-2c")
@pytest.mark.parametrize("field", ["chain_id", "genesis_hash", "parent_chain_id", "region_code"])
def test_what_a_chain_is_does_not_change(field: str) -> None:
    receipt = update(make(), registration() | {field: "beijing"})
    assert (receipt.code, detail(receipt)) == ("CHAIN_FIELD_IMMUTABLE", {"field": field})


@pytest.mark.req("G2-10-2c")
def test_the_operator_of_a_chain_does_not_change() -> None:
    value = spoiled("operator.name", "别的中心")
    assert detail(update(make(), value)) == {"field": "operator"}


def test_an_update_is_judged_like_a_registration_and_comes_from_its_operator() -> None:
    registry = make()
    assert update(registry, spoiled("consensus.protocol", "raft")).code == "CONSENSUS_NOT_BFT"
    assert update(registry, registration(network_path="INTERNET")).code == "NETWORK_PATH_PUBLIC"
    stolen = spoiled("validators.0.pop", "11" * 64)
    assert update(registry, stolen).code == "POSSESSION_UNPROVEN"
    person = spoiled("responsible_persons.0.name", "某某")
    assert update(registry, person).code == "TIER_NONPUBLIC_ONCHAIN"
    others = (BEIJING_MAKER, BEIJING_CHECKER)
    assert update(registry, registration(), others).code == "CHAIN_OWNER_OTHER"
    assert update(registry, registration(), BOTH_SIDES).code == "ROLE_MISSING"


@pytest.mark.req("G2-10-2e", "G2-10-3")
def test_other_endpoints_are_in_force_after_a_probe_of_them() -> None:
    registry = make()
    moved = spoiled("rpc_endpoints.1.url", "https://10.9.0.1:8443")
    assert events(update(registry, moved), "chain.update_stated")
    assert registry.record()["registration"] == registration()
    probed_old = registry.report(registration(), digest=registration_digest(moved))
    receipt = registry.act("accept_update", (TECH_SIDE,), **probed_old)
    assert receipt.code == "RPC_PROBE_FAILED"
    assert (
        registry.act("accept_update", BOTH_SIDES, **registry.report(moved)).code == "ROLE_MISSING"
    )
    assert accept(registry, moved).accepted
    assert registry.record()["registration"] == moved


def test_an_update_that_fails_its_probe_is_dropped() -> None:
    registry = make()
    moved = spoiled("rpc_endpoints.1.url", "https://10.9.0.1:8443")
    update(registry, moved)
    receipt = accept(registry, moved, result="FAIL", probes=[])
    assert events(receipt, "chain.update_failed")
    assert accept(registry, moved).code == "CHAIN_UPDATE_UNKNOWN"
    assert registry.record()["registration"] == registration()


def test_an_update_that_waits_is_not_passed_by_another_and_can_be_withdrawn() -> None:
    registry = make()
    moved = spoiled("rpc_endpoints.1.url", "https://10.9.0.1:8443")
    other = spoiled("data_model_version", "guqiao-2")
    update(registry, moved)
    assert update(registry, other).code == "CHAIN_UPDATE_PENDING"
    both = {**moved, "data_model_version": "guqiao-2"}
    assert update(registry, both).accepted
    assert accept(registry, moved).code == "CHAIN_REGISTRATION_OTHER"
    assert events(update(registry, registration()), "chain.update_withdrawn")
    assert accept(registry, both).code == "CHAIN_UPDATE_UNKNOWN"
    assert update(registry, other).accepted
    assert registry.record()["registration"] == other


# --- Suspension -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["PACKETS", "ALL"])
def test_g38_packets_and_proofs_of_a_suspended_chain_are_refused(scope: str) -> None:
    registry = make()
    registry.must("suspend", BOTH_SIDES, **{**SUSPENSION, "scope": scope})
    codes = {proves(registry), packets(registry), certifies(registry)}
    assert codes == {"CHAIN_NOT_ADMITTED"}
    receipt = registry.advance()
    assert receipt.code == ("CHAIN_NOT_ADMITTED" if scope == "ALL" else "")
    registry.must("resume", BOTH_SIDES, **CLOSED)
    assert registry.advance().accepted
    assert (proves(registry), packets(registry)) == ("", "")


@pytest.mark.req("G2-10-3")
def test_keys_that_changed_during_a_suspension_are_a_drift_when_it_ends() -> None:
    registry = make()
    registry.must("suspend", BOTH_SIDES, **SUSPENSION)
    receipt = registry.advance(changes_set=True)
    assert receipt.accepted
    assert registry.status() == "SUSPENDED"
    receipt = registry.must("resume", BOTH_SIDES, **CLOSED)
    assert events(receipt, "chain.registration_stale")
    assert registry.status() == "STALE"


def test_a_stale_chain_can_be_suspended() -> None:
    registry = make()
    registry.advance(changes_set=True)
    registry.must("suspend", BOTH_SIDES, **SUSPENSION)
    assert packets(registry) == "CHAIN_NOT_ADMITTED"


def test_nothing_of_a_deregistered_chain_is_taken() -> None:
    registry = make()
    end = {"chain_id": "shandong", "handover": "7a" * 32}
    registry.must("request_deregistration", BY_OPERATOR, **end, reporting_path="专线")
    registry.must("consent_deregistration", (REGULATOR,), **end)
    registry.must("deregister", BOTH_SIDES, **end)
    codes = {proves(registry), packets(registry), certifies(registry)}
    assert codes == {"CHAIN_NOT_ADMITTED"}
    assert registry.advance().code == "CHAIN_NOT_ADMITTED"


# --- Migration ------------------------------------------------------------------------------------


def test_a_migration_opens_and_closes_and_then_the_keys_count_again() -> None:
    registry = make()
    assert registry.csrc.call("probes", "migrated", {}).code == "ILLEGAL_TRANSITION"
    assert registry.csrc.call("probes", "migrate", {"target": None}).accepted
    assert registry.status() == "MIGRATING"
    assert registry.csrc.call("probes", "migrate", {"target": None}).code == "ILLEGAL_TRANSITION"
    assert registry.advance(changes_set=True).accepted
    assert (registry.status(), proves(registry)) == ("MIGRATING", "")
    receipt = registry.csrc.call("probes", "migrated", {})
    assert events(receipt, "chain.registration_stale")
    assert registry.status() == "STALE"


@pytest.mark.req("G2-06-2")
def test_the_target_of_a_migration_is_no_duplicate() -> None:
    registry = make()
    second = registration("shandong-two")
    assert registry.submit(second).code == "CHAIN_DUPLICATE_INDEPENDENT"
    assert registry.csrc.call("probes", "migrate", {"target": "shandong-two"}).accepted
    assert registry.bring("ACTIVE", second).status("shandong-two") == "ACTIVE"
    third = registration("shandong-three")
    assert registry.submit(third).code == "CHAIN_DUPLICATE_INDEPENDENT"


# --- Chains that nobody registered here -----------------------------------------------------------


def test_a_chain_that_an_administrator_made_known_goes_on_as_before_and_can_be_registered() -> None:
    registry = Registry.make(ProbesContract())
    members = [
        {"entity_id": each.entity_id, "entity_name": each.entity_name,
         "vote_key": each.public_key.hex()}
        for each in registry.market.set.members
    ]  # fmt: skip
    trust: dict[str, Any] = {
        "chain_id": "shandong", "genesis_hash": "ab" * 32, "epoch": 0, "replicas": members,
    }  # fmt: skip
    assert registry.csrc.call("light_client", "register_chain", trust).accepted
    assert registry.advance().accepted
    registry.bring("SUBMITTED")
    assert registry.advance(changes_set=True).accepted
    assert (registry.status(), proves(registry)) == ("SUBMITTED", "")
    named = {"chain_id": "shandong", "digest": registry.digest()}
    registry.must("countersign", (REGULATOR,), **named)
    registry.must("start_test", (TECH_SIDE,), **named)
    registry.must("report", (TECH_SIDE,), **registry.report())
    receipt = registry.must("approve", BOTH_SIDES, **named)
    assert events(receipt, "chain.registration_stale")
    assert registry.csrc.value("light_client/trust/shandong") == trust


def test_a_refusal_of_the_registry_is_one_of_the_catalogue() -> None:
    refusal = Refusal("CHAIN_NOT_ADMITTED", chain="shandong", status="SUSPENDED")
    told = rules.messages(refusal.code, **refusal.fields)
    assert "shandong" in told.zh
    assert "SUSPENDED" in told.en
