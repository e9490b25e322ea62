"""A chain is migrated within the window that its notice opened, and its registration says so."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.notice.standing import Kind
from services.consensus.domain.contracts.notices import NoticesContract
from tests.unit.contracts.notice_market import (
    CSRC,
    FIGURES,
    GOOD,
    OLD,
    OPERATOR,
    TECH,
    WHO,
    filing,
    moment,
)
from tests.unit.xchain import registered_chains as chains
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    BY_OPERATOR,
    TECH_SIDE,
    Registry,
    detail,
    registration,
    with_keys_of,
)

pytestmark = pytest.mark.req("G2-14-2")

SIGNERS = {id(CSRC): BOTH_SIDES, id(TECH): (TECH_SIDE,), id(OPERATOR): BY_OPERATOR}


def ask(registry: Registry, method: str, **body: Any) -> Receipt:
    named = {"chain": "shandong", **body}
    signers = SIGNERS[id(WHO[method])]
    transaction = registry.csrc.transaction("notices", method, named, signers=signers)
    return registry.csrc.execute(transaction).receipts[0]


def take(registry: Registry, method: str, **changes: Any) -> Receipt:
    receipt = ask(registry, method, number=1, **(GOOD.get(method, {}) | changes))
    assert receipt.accepted, (method, receipt.code, receipt.detail)
    return receipt


def code(registry: Registry, method: str, **changes: Any) -> str:
    return ask(registry, method, number=1, **(GOOD.get(method, {}) | changes)).code


def scheduled(kind: Kind = Kind.MIGRATION, now: str = "2025-10-18T09:00") -> Registry:
    """A registered chain whose light client knows a header, on the day of its migration."""
    registry = Registry.make(NoticesContract(2)).active()
    assert registry.advance().accepted
    assert ask(registry, "adopt", operator=chains.OPERATOR, interface=OLD).accepted
    registry.csrc.execute(time_ms=moment("2025-09-15T10:00"))
    assert ask(registry, "file", **filing(kind)).accepted
    for method in ("ack", "open_test", "pass_test", "schedule"):
        take(registry, method)
    registry.csrc.execute(time_ms=moment(now))
    return registry


def test_a_chain_is_migrating_from_the_opening_of_its_window_to_the_cut_over() -> None:
    registry = scheduled()
    assert registry.status() == "ACTIVE"
    opened = take(registry, "open_window")
    assert events(opened, "chain.migrating")[0]["chain_id"] == "shandong"
    assert events(opened, "notice.window_opened")[0]["number"] == 1
    assert registry.status() == "MIGRATING"
    assert code(registry, "cutover") == "UPGRADE_DATA_UNCOMPARED"
    odd = code(registry, "compare", after={**FIGURES, "objects": 2})
    assert (odd, registry.status()) == ("UPGRADE_DATA_DIFFERS", "MIGRATING")
    take(registry, "compare")
    switched = take(registry, "cutover")
    assert events(switched, "chain.migrated")
    assert registry.status() == "ACTIVE"


def test_outside_its_window_nothing_of_a_migration_is_taken() -> None:
    registry = scheduled(now="2025-10-17T23:59")
    assert code(registry, "open_window") == "UPGRADE_CUTOVER_EARLY"
    registry.csrc.execute(time_ms=moment("2025-10-18T00:00"))
    for method in ("compare", "cutover"):
        assert code(registry, method) == "UPGRADE_WINDOW_CLOSED"
    registry.csrc.execute(time_ms=moment("2025-11-01T00:00"))
    assert code(registry, "open_window") == "UPGRADE_WINDOW_OVER"
    assert registry.status() == "ACTIVE"


def test_only_a_migration_has_a_window_and_only_one() -> None:
    registry = scheduled(Kind.INCOMPATIBLE)
    receipt = ask(registry, "open_window", number=1, target=None)
    facts = {"state": "INCOMPATIBLE", "event": "open_window"}
    assert (receipt.code, detail(receipt)) == ("ILLEGAL_TRANSITION", facts)
    take(registry, "cutover")
    registry = scheduled()
    take(registry, "open_window")
    again = ask(registry, "open_window", number=1, target=None)
    assert detail(again) == {"state": "WINDOW_OPEN", "event": "open_window"}


def test_a_chain_that_is_suspended_or_stale_does_not_begin_to_migrate() -> None:
    registry = scheduled()
    suspension = {"chain_id": "shandong", "reason": "安全事件", "scope": "PACKETS"}
    registry.must("suspend", BOTH_SIDES, **suspension)
    receipt = ask(registry, "open_window", number=1, target=None)
    facts = {"state": "SUSPENDED", "event": "open_migration"}
    assert (receipt.code, detail(receipt)) == ("ILLEGAL_TRANSITION", facts)
    assert registry.csrc.value("notices/window/shandong") is None
    registry = scheduled()
    registry.advance(changes_set=True)
    assert (registry.status(), code(registry, "open_window")) == ("STALE", "ILLEGAL_TRANSITION")


def test_keys_that_changed_within_the_window_are_held_against_the_registration_after_it() -> None:
    registry = scheduled()
    take(registry, "open_window")
    assert registry.advance(changes_set=True).accepted
    assert registry.status() == "MIGRATING"
    take(registry, "compare")
    assert events(take(registry, "cutover"), "chain.registration_stale")
    assert registry.status() == "STALE"


def test_keys_that_were_stated_and_probed_before_the_window_are_in_force_after_it() -> None:
    registry = scheduled()
    later = with_keys_of(registration(), 1)
    registry.must("update", BY_OPERATOR, chain_id="shandong", registration=later)
    registry.must("accept_update", (TECH_SIDE,), **registry.report(later))
    take(registry, "open_window")
    assert registry.advance(changes_set=True).accepted
    take(registry, "compare")
    switched = take(registry, "cutover")
    assert not events(switched, "chain.registration_stale")
    assert (registry.status(), registry.record()["registration"]) == ("ACTIVE", later)


@pytest.mark.parametrize("way", ["schedule", "cancel"])
def test_a_migration_that_is_put_off_or_called_off_closes_its_window(way: str) -> None:
    registry = scheduled()
    take(registry, "open_window", target="shandong-two")
    take(registry, "compare")
    assert events(take(registry, way), "notice.window_closed")
    assert registry.status() == "ACTIVE"
    assert registry.csrc.value("chains/migration/shandong-two") is None
    second = registration("shandong-two")
    assert registry.submit(second).code == "CHAIN_DUPLICATE_INDEPENDENT"
    if way == "schedule":
        assert code(registry, "cutover") == "UPGRADE_WINDOW_CLOSED"
        take(registry, "open_window")
        assert code(registry, "cutover") == "UPGRADE_DATA_UNCOMPARED"


def test_a_migration_that_was_rolled_back_needs_a_window_and_a_comparison_of_its_own() -> None:
    registry = scheduled()
    for method in ("open_window", "compare", "cutover", "roll_back", "open_test", "pass_test"):
        take(registry, method)
    take(registry, "schedule")
    assert registry.status() == "ACTIVE"
    assert code(registry, "cutover") == "UPGRADE_WINDOW_CLOSED"
    take(registry, "open_window")
    assert code(registry, "cutover") == "UPGRADE_DATA_UNCOMPARED"


@pytest.mark.req("G2-06-2")
def test_the_chain_that_takes_over_is_registered_once_the_window_names_it() -> None:
    registry = scheduled()
    second = registration("shandong-two")
    assert registry.submit(second).code == "CHAIN_DUPLICATE_INDEPENDENT"
    own = ask(registry, "open_window", number=1, target="shandong")
    assert detail(own)["fault"] == "the chain itself"
    take(registry, "open_window", target="shandong-two")
    assert registry.submit(second).accepted
    take(registry, "compare")
    take(registry, "cutover")
    assert registry.csrc.value("chains/migration/shandong-two") is not None


def test_the_first_version_goes_on_without_windows() -> None:
    assert "open_window" not in NoticesContract(1).methods()
    assert "open_window" in NoticesContract(2).methods()
