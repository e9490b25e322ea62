"""The life of a contract in star/1 on a chain, and who decides about it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from guqiao_sdk.proof.receipt import Outcome, Receipt
from services.consensus.domain.contracts.deployment_proposal import (
    PROPOSAL_LIFE_MS,
    PROPOSALS_OF_ENTITY_MAX,
)
from services.consensus.domain.contracts.star.package import is_of_source, package
from services.consensus.domain.ledger.genesis import GenesisError
from tests.unit.contracts.governed_chain import members_json, propose
from tests.unit.contracts.star_chain import (
    ask,
    call,
    call_payload,
    decide,
    deploy,
    facts,
    star_chain,
    star_genesis,
    stored,
    told,
    upgrade,
)
from tests.unit.ledger.chain_builder import (
    CLERK,
    MARKET,
    MemoryChain,
    genesis_of,
    payload_of,
    replicas_json,
)

SOURCE = """
ACCESS = {"read": [], "write": ["n/"]}

def add(who, count):
    put("n/" + who, (get("n/" + who) or 0) + count)
    emit("added", {"who": who, "count": count})
    return get("n/" + who)
"""
COMPATIBLE = SOURCE + '\ndef of(who):\n    return get("n/" + who)\n'
BREAKING = SOURCE.replace('"count": count})', '"sum": count})')


def star_gas() -> Any:
    """The first rules, as a chain holds them."""
    return stored(star_chain(), "contracts", f"gas/{1:020d}")


def star_gas_names() -> list[str]:
    return list(star_gas()["prices"])


def body_of(name: str, source: str = SOURCE) -> dict[str, Any]:
    return {"name": name, **package(source.encode())}


def record(chain: MemoryChain, name: str = "counter") -> Any:
    return stored(chain, "contracts", f"contract/{name}")


def state_of(chain: MemoryChain) -> dict[bytes, bytes]:
    return {k: v for k, v in chain.state.entries.items() if not k.startswith(b"ledger/")}


# --- Coming onto the chain --------------------------------------------------------------------


@pytest.mark.req("G2-08-1", "G2-05-5")
def test_a_contract_runs_once_more_than_two_thirds_of_the_entities_approve() -> None:
    chain = star_chain()
    proposed = ask(chain, "A", "deploy", body_of("counter"))
    named = {"name": "counter", "proposal": proposed.transaction_id.hex()}
    assert call(chain, "counter", "add", who="x", count=1).code == "CONTRACT_UNKNOWN"
    assert ask(chain, "B", "approve", named).accepted
    # Once more is nothing more.
    assert ask(chain, "B", "approve", named).events == ()
    assert call(chain, "counter", "add", who="x", count=1).code == "CONTRACT_UNKNOWN"
    assert record(chain) is None
    last = ask(chain, "C", "approve", named)
    assert told(last)["contracts.approved"]["approvals"] == 3
    deployed = told(last)["contracts.deployed"]
    assert (deployed["version"], deployed["status"]) == (1, "active")
    assert facts(call(chain, "counter", "add", who="x", count=2))["result"] == 2
    kept = stored(chain, "contracts", f"code/counter/{1:020d}")
    assert kept == package(SOURCE.encode())
    assert is_of_source(kept["source"], record(chain)["digest"])
    assert not is_of_source(COMPATIBLE, record(chain)["digest"])
    # Nothing of the proposal is left.
    assert ask(chain, "D", "approve", named).code == "PROPOSAL_UNKNOWN"
    left = [key for key in chain.state.entries if key.startswith(b"contracts/propos")]
    assert left == []


@pytest.mark.req("G2-05-5")
def test_of_three_entities_two_are_not_more_than_two_thirds_nor_one_more_than_a_third() -> None:
    value = star_genesis()
    value["replicas"] = replicas_json("A", "B", "C", "C")
    chain = MemoryChain(genesis_of(value), star_chain().catalogue)
    decide(chain, "deploy", body_of("counter"), "B")
    assert record(chain) is None
    decide(chain, "deploy", body_of("counter"), "B", "C")
    assert record(chain)["status"] == "active"
    assert ask(chain, "D", "pause", REASON).code == "GOVERNANCE_ENTITY_UNKNOWN"
    decide(chain, "pause", REASON)
    assert record(chain)["status"] == "active"
    decide(chain, "pause", REASON, "B")
    assert record(chain)["status"] == "paused"


@pytest.mark.req("G2-05-5")
def test_nobody_but_a_governor_of_an_entity_decides() -> None:
    chain = star_chain()
    payload = payload_of("deploy", body_of("counter"), contract="contracts")
    assert chain.receipt(payload).code == "ROLE_MISSING"
    assert (payload.maker[0], payload.organisation) == (CLERK, MARKET)
    proposed = ask(chain, "A", "deploy", body_of("counter"))
    named = {"name": "counter", "proposal": proposed.transaction_id.hex()}
    payload = call_payload(chain, "contracts", "approve", named)
    assert chain.receipt(payload).code == "ROLE_MISSING"


@pytest.mark.parametrize("name", ["", "ab", "Counter", "a-b", "1ab", "a/b", "a" * 65, 7, None])
def test_a_name_of_another_form_is_refused(name: Any) -> None:
    receipt = ask(star_chain(), "A", "deploy", {**body_of("counter"), "name": name})
    assert (receipt.code, facts(receipt)["field"]) == ("BODY_MALFORMED", "name")


@pytest.mark.parametrize("engine", ["wasm/1", "star/2", "star/1 ", "", 1, None, ["star/1"]])
def test_an_engine_that_is_not_known_is_refused_by_its_code(engine: Any) -> None:
    receipt = ask(star_chain(), "A", "deploy", {**body_of("counter"), "engine": engine})
    assert receipt.code == "CONTRACT_ENGINE_UNKNOWN"


def with_statement(statement: Any) -> Any:
    """The form with one statement more."""
    form = json.loads(str(package(SOURCE.encode())["ir"]))
    form["functions"][0][4].append(statement)
    return form


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = ["int", 9, "1"]
    for _ in range(depth):
        value = ["list", 9, value]
    return value


WHOLE = str(package(SOURCE.encode())["ir"])
CALL = ["call", 9, "add", [], ["none", 9], ["none", 9]]
SPOILED = {
    "engine": WHOLE.replace("star/1", "star/2"),
    "while": json.dumps(with_statement(["while", 9, ["bool", 9, True], []])),
    "recursion": json.dumps(with_statement(["do", 9, CALL])),
    "import": json.dumps(with_statement(["do", 9, ["call", 9, "open", [], ["str", 9, "x"]]])),
    "deep": json.dumps(with_statement(["do", 9, nested(25)])),
    "float": WHOLE.replace('"0"', "0.5"),
    "deeper": "[" * 10_000 + "]" * 10_000,
    "large": "[" + "0," * 300_000 + "0]",
    "no json": "{",
    "twice": WHOLE.replace('{"', '{"engine":"star/1","', 1),
}


@pytest.mark.req("G2-08-1")
@pytest.mark.parametrize(
    ("change", "rule", "line"),
    [
        ("engine", "engine", 0),
        ("while", "form", 9),
        ("recursion", "recursion", 9),
        ("import", "name", 9),
        ("deep", "deep", 9),
        ("float", "form", 0),
        ("deeper", "form", 0),
        ("large", "form", 0),
        ("no json", "form", 0),
        ("twice", "form", 0),
    ],
)
def test_a_hostile_form_is_refused_with_its_rule_and_line(
    change: str, rule: str, line: int
) -> None:
    chain = star_chain()
    before = state_of(chain)
    receipt = ask(chain, "A", "deploy", {**body_of("counter"), "ir": SPOILED[change]})
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, "CONTRACT_SOURCE_REFUSED")
    assert (facts(receipt)["rule"], facts(receipt)["line"]) == (rule, line)
    assert state_of(chain) == before


@pytest.mark.parametrize("source", ["x" * 65_537, "股" * 30_000, 5, None])
def test_a_source_beyond_its_bound_is_refused(source: Any) -> None:
    receipt = ask(star_chain(), "A", "deploy", {**body_of("counter"), "source": source})
    assert (receipt.code, facts(receipt)["field"]) == ("BODY_MALFORMED", "source")


def test_a_form_in_another_spelling_is_kept_in_the_one() -> None:
    chain = star_chain()
    body = body_of("counter")
    spaced = {**body, "ir": json.dumps(json.loads(body["ir"]), indent=1)}
    decide(chain, "deploy", spaced, "B", "C")
    assert stored(chain, "contracts", f"code/counter/{1:020d}")["ir"] == body["ir"]


# --- Changing ---------------------------------------------------------------------------------


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    ("source", "claimed", "compatible"),
    [(COMPATIBLE, True, True), (COMPATIBLE, False, True), (BREAKING, False, False)],
)
def test_an_upgrade_is_compatible_by_what_it_changes_whatever_is_claimed(
    source: str, claimed: bool, compatible: bool
) -> None:
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    call(chain, "counter", "add", who="x", count=2)
    told_last = told(upgrade(chain, "counter", source, compatible=claimed))["contracts.upgraded"]
    assert (told_last["compatible"], told_last["version"]) == (compatible, 2)
    assert told_last["changes"][0]["breaking"] is not compatible
    # The state goes on, and the version before stays readable.
    assert facts(call(chain, "counter", "add", who="x", count=2))["result"] == 4
    assert stored(chain, "contracts", f"code/counter/{1:020d}")["source"] == SOURCE


@pytest.mark.req("G2-14-4")
def test_a_breaking_upgrade_told_as_compatible_is_refused() -> None:
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    body = {**body_of("counter", BREAKING), "compatible": True}
    receipt = ask(chain, "A", "upgrade", body)
    assert receipt.code == "UPGRADE_MISCLASSIFIED"
    assert facts(receipt)["breaking"] == 1
    removed = {"rule": "EVENT_MEMBER_REMOVED", "what": "added.count", "breaking": True}
    assert removed in facts(receipt)["changes"]
    for odd in (None, 1, "true"):
        assert ask(chain, "A", "upgrade", {**body, "compatible": odd}).code == "BODY_MALFORMED"


def test_an_upgrade_needs_a_contract_and_a_change() -> None:
    chain = star_chain()
    body = {**body_of("counter"), "compatible": True}
    assert ask(chain, "A", "upgrade", body).code == "CONTRACT_UNKNOWN"
    deploy(chain, "counter", SOURCE)
    assert ask(chain, "A", "upgrade", body).code == "CONTRACT_UNCHANGED"
    # Other lines are another form, with the same interface.
    moved = {**body_of("counter", "\n" + SOURCE), "compatible": True}
    assert told(ask(chain, "A", "upgrade", moved))["contracts.proposed"]["changes"] == []


# --- Pausing and ending -----------------------------------------------------------------------

REASON = {"name": "counter", "reason": "audit"}


@pytest.mark.req("G2-05-5")
def test_a_pause_takes_two_entities_of_four_and_going_on_takes_three() -> None:
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    alone = ask(chain, "D", "pause", REASON)
    assert call(chain, "counter", "add", who="x", count=1).accepted
    named = {"name": "counter", "proposal": alone.transaction_id.hex()}
    paused = told(ask(chain, "A", "approve", named))["contracts.paused"]
    assert (paused["status"], paused["reason"]) == ("paused", "audit")
    assert call(chain, "counter", "add", who="x", count=1).code == "CONTRACT_PAUSED"
    decide(chain, "resume", REASON, "B")
    assert call(chain, "counter", "add", who="x", count=1).code == "CONTRACT_PAUSED"
    resumed = told(decide(chain, "resume", REASON, "B", "C"))
    assert resumed["contracts.resumed"]["status"] == "active"
    assert facts(call(chain, "counter", "add", who="x", count=1))["result"] == 2


@pytest.mark.req("G2-05-5")
def test_what_was_destroyed_is_never_called_again_and_its_state_stays() -> None:
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    call(chain, "counter", "add", who="x", count=3)
    decide(chain, "destroy", REASON, "B", "C")
    assert call(chain, "counter", "add", who="x", count=1).code == "CONTRACT_DESTROYED"
    assert stored(chain, "counter", "n/x") == 3
    assert stored(chain, "contracts", f"code/counter/{1:020d}")["source"] == SOURCE
    for action in ("pause", "resume", "destroy"):
        assert ask(chain, "A", action, REASON).code == "CONTRACT_DESTROYED"
    again = {**body_of("counter", COMPATIBLE), "compatible": True}
    assert ask(chain, "A", "upgrade", again).code == "CONTRACT_DESTROYED"
    assert ask(chain, "A", "deploy", body_of("counter")).code == "CONTRACT_NAME_TAKEN"


def test_an_action_begins_where_it_may_and_a_paused_contract_stays_so_under_an_upgrade() -> None:
    chain = star_chain()
    assert ask(chain, "A", "pause", REASON).code == "CONTRACT_UNKNOWN"
    deploy(chain, "counter", SOURCE)
    assert ask(chain, "A", "resume", REASON).code == "CONTRACT_STATE_WRONG"
    decide(chain, "pause", REASON, "B")
    receipt = ask(chain, "A", "pause", REASON)
    assert facts(receipt) == {"contract": "counter", "status": "paused", "action": "pause"}
    upgrade(chain, "counter", COMPATIBLE)
    assert (record(chain)["version"], record(chain)["status"]) == (2, "paused")
    for odd in ("", " ", "x" * 501, 5, None):
        spoiled_body = {"name": "counter", "reason": odd}
        receipt = ask(chain, "A", "resume", spoiled_body)
        assert (receipt.code, facts(receipt)["field"]) == ("BODY_MALFORMED", "reason")


# --- Proposals --------------------------------------------------------------------------------


def approving(chain: MemoryChain, proposal: Receipt, entity: str, name: str = "counter") -> Receipt:
    named = {"name": name, "proposal": proposal.transaction_id.hex()}
    return ask(chain, entity, "approve", named)


def test_a_proposal_expires_is_withdrawn_or_gives_way_to_the_next_of_its_entity() -> None:
    chain = star_chain()
    first = ask(chain, "A", "deploy", body_of("counter"))
    second = ask(chain, "A", "deploy", body_of("counter", COMPATIBLE))
    assert approving(chain, first, "B").code == "PROPOSAL_UNKNOWN"
    named = {"name": "counter", "proposal": second.transaction_id.hex()}
    assert ask(chain, "B", "withdraw", named).code == "PROPOSAL_UNKNOWN"
    assert ask(chain, "A", "withdraw", named).accepted
    assert approving(chain, second, "B").code == "PROPOSAL_UNKNOWN"
    third = ask(chain, "A", "deploy", body_of("counter"))
    later = call_payload(chain, "counter", "add", {})
    chain.execute(later, time_ms=chain.header.block_time_ms + PROPOSAL_LIFE_MS + 1)
    assert approving(chain, third, "B").code == "PROPOSAL_EXPIRED"


def test_what_takes_effect_ends_the_other_proposals_for_the_contract() -> None:
    chain = star_chain()
    other = ask(chain, "B", "deploy", body_of("counter", COMPATIBLE))
    elsewhere = ask(chain, "B", "deploy", body_of("other"))
    deploy(chain, "counter", SOURCE)
    assert approving(chain, other, "C").code == "PROPOSAL_UNKNOWN"
    assert approving(chain, elsewhere, "C", "other").accepted


def test_an_entity_has_few_open_proposals_and_expired_ones_make_room() -> None:
    chain = star_chain()
    for number in range(PROPOSALS_OF_ENTITY_MAX):
        assert ask(chain, "A", "deploy", body_of(f"c{number:02d}")).accepted
    full = ask(chain, "A", "deploy", body_of("one_more"))
    assert (full.code, facts(full)["limit"]) == ("LIMIT_EXCEEDED", "proposals")
    assert ask(chain, "A", "deploy", body_of("c00", COMPATIBLE)).accepted
    assert ask(chain, "B", "deploy", body_of("one_more")).accepted
    later = call_payload(chain, "counter", "add", {})
    chain.execute(later, time_ms=chain.header.block_time_ms + PROPOSAL_LIFE_MS + 1)
    assert ask(chain, "A", "deploy", body_of("one_more")).accepted
    kept = [key for key in chain.state.entries if key.startswith(b"contracts/proposed/A/")]
    assert kept == [b"contracts/proposed/A/one_more"]


def test_an_upgrade_that_was_compared_with_an_older_version_is_stale() -> None:
    """An entity leaves the set and comes back while the contract goes on."""
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    body = {**body_of("counter", BREAKING), "compatible": False}
    stale = ask(chain, "D", "upgrade", body)
    key = b"contracts/proposal/D/counter"
    kept = {k: chain.state.entries[k] for k in (key, b"contracts/proposed/D/counter")}
    upgrade(chain, "counter", COMPATIBLE)
    chain.state.entries.update(kept)
    assert approving(chain, stale, "A").accepted
    assert approving(chain, stale, "B").code == "PROPOSAL_EXPIRED"
    assert record(chain)["version"] == 2


@pytest.mark.parametrize("method", ["deploy", "upgrade", "pause", "approve", "withdraw"])
def test_a_body_with_other_members_is_refused(method: str) -> None:
    chain = star_chain()
    for body in ({}, {"name": "counter", "more": 1}):
        assert ask(chain, "A", method, body).code == "BODY_MALFORMED"


def test_governance_itself_goes_on_beside_it() -> None:
    chain = star_chain()
    receipt = propose(chain, "A", members_json("A", "B", "C", "D", keys={3: "next"}))
    assert receipt.accepted, receipt.code


# --- Gas --------------------------------------------------------------------------------------


def new_gas(**changes: Any) -> dict[str, Any]:
    """The next rules: half the limit, a node at three times its price."""
    rules = star_gas()
    prices = {**rules["prices"], "node": 3}
    body = {"transaction_limit": 250_000, "block_limit": 1_000_000, "prices": prices}
    return {**body, **changes}


@pytest.mark.req("G2-05-5")
def test_the_entities_change_gas_by_a_new_version_and_the_old_one_stays() -> None:
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    before = facts(call(chain, "counter", "add", who="x", count=1))["gas"]
    proposed = ask(chain, "A", "set_gas", new_gas())
    assert approving(chain, proposed, "B", "gas").accepted
    assert stored(chain, "contracts", "gas/latest") == 1
    set_last = told(approving(chain, proposed, "C", "gas"))["contracts.gas_set"]
    assert set_last["gas"] == {**new_gas(), "version": 2}
    assert stored(chain, "contracts", "gas/latest") == 2
    assert stored(chain, "contracts", f"gas/{1:020d}") == star_gas()
    assert facts(call(chain, "counter", "add", who="x", count=1))["gas"] > before


@pytest.mark.parametrize(
    "changes",
    [
        {"transaction_limit": 0},
        {"transaction_limit": 1_000_001},
        {"block_limit": "1"},
        {"prices": {}},
        {"prices": None},
        {"prices": {**dict.fromkeys(star_gas_names(), 1), "more": 1}},
        {"prices": dict.fromkeys(star_gas_names(), 0)},
    ],
)
def test_gas_rules_that_could_not_hold_are_refused(changes: dict[str, Any]) -> None:
    receipt = ask(star_chain(), "A", "set_gas", new_gas(**changes))
    assert (receipt.code, facts(receipt)["field"]) == ("BODY_MALFORMED", "gas")


def test_gas_rules_of_an_older_version_are_stale() -> None:
    chain = star_chain()
    stale = ask(chain, "D", "set_gas", new_gas(block_limit=2_000_000))
    key = b"contracts/proposal/D/gas"
    kept = chain.state.entries[key]
    proposed = ask(chain, "A", "set_gas", new_gas())
    for entity in ("B", "C"):
        assert approving(chain, proposed, entity, "gas").accepted
    assert approving(chain, stale, "A", "gas").code == "PROPOSAL_UNKNOWN"
    chain.state.entries[key] = kept
    assert approving(chain, stale, "A", "gas").accepted
    assert approving(chain, stale, "B", "gas").code == "PROPOSAL_EXPIRED"
    assert stored(chain, "contracts", "gas/latest") == 2


# --- Genesis ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda value: value["contracts"].pop(1), "contracts"),
        (lambda value: value["contracts"][2].update(parameters={"x": 1}), ".x"),
        (lambda value: value["contracts"][2]["parameters"]["gas"].pop("version"), ".gas"),
        (lambda value: value["contracts"][2]["parameters"]["gas"].update(version=0), ".gas"),
        (lambda value: value["contracts"][2]["parameters"]["gas"].update(block_limit=1), ".gas"),
        (lambda value: value["contracts"][2]["parameters"]["gas"].update(prices=[]), ".gas"),
        (lambda value: value["contracts"][2]["parameters"]["gas"]["prices"].pop("node"), ".gas"),
        (
            lambda value: value["contracts"][2]["parameters"]["gas"]["prices"].update(node=True),
            ".gas",
        ),
    ],
)
def test_a_genesis_that_could_not_run_contracts_is_refused(change: Any, field: str) -> None:
    value = star_genesis(copy.deepcopy(star_gas()))
    genesis_of(value)
    change(value)
    with pytest.raises(GenesisError) as caught:
        genesis_of(value)
    assert caught.value.code == "GENESIS_INVALID"
    assert caught.value.field.endswith(field)
