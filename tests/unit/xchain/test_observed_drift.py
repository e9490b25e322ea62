"""Who seals a chain of another kind is held against its registration, as for a chain of ours: other
keys open a task and make the registration stale, until the operator states them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.host import Contract
from services.consensus.domain.contracts.observed import ObservedContract
from tests.plugins import fisco_chain
from tests.plugins.fisco_chain import FiscoChain
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.observed_chain import CHAIN, Observed
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    BY_OPERATOR,
    KEYS,
    TECH_SIDE,
    Registry,
    registration,
    with_keys_of,
)
from tests.unit.xchain.test_chain_drift import ProbesContract

pytestmark = pytest.mark.req("G2-10-3", "T2-13")

FIRST: Final = 40
LATER: Final = 41
STRANGE: Final = 42
"""Sets of keys that this file alone uses: in the later one the last is another, for which the
others are a quorum; in the strange one two are.
"""

PLATFORM: Final = {
    "name": "FISCO BCOS", "version": "3.3.0", "vm": "evm", "crypto_suite": "SM2-SM3-SM4",
}  # fmt: skip


def names(epoch: int) -> tuple[str, ...]:
    """Under which the chain of another kind knows the keys of a set; the register has the same
    keys under names of its own.
    """
    own = 4 - (epoch - FIRST)
    found = tuple(f"{CHAIN}/{FIRST if each < own else epoch}/{each}" for each in range(4))
    for number, name in enumerate(found):
        KEYS.made[f"{CHAIN}/{epoch}/{number}"] = fisco_chain.key(name)
    return found


def stated(fisco: FiscoChain, epoch: int = FIRST) -> dict[str, Any]:
    """The registration with the keys of a set."""
    names(epoch)
    genesis = fisco.genesis_hash.hex()
    made = registration(CHAIN, FIRST, platform=PLATFORM, genesis_hash=genesis)
    made["trusted_header"] = {**made["trusted_header"], "hash": genesis}
    if epoch == FIRST:
        return made
    later = with_keys_of(made, epoch)
    named = {**later["trusted_header"], "height": 0, "hash": genesis}
    return later | {"platform": PLATFORM, "genesis_hash": genesis, "trusted_header": named}


def begun(version: int = 2, *further: Contract) -> Observed:
    """A registered chain with two blocks, observed from its genesis block."""
    observed = Observed(
        Registry.make(ObservedContract(version), *further), FiscoChain(names=names(FIRST))
    )
    observed.registry.bring("ACTIVE", stated(observed.fisco))
    observed.fisco.add_block()
    observed.fisco.add_block()
    first = replace(observed.fisco.trusted(), sealers=observed.fisco.sealers)
    assert observed.begin(first).accepted
    assert observed.advance(1, 2).accepted
    assert observed.registry.status() == "ACTIVE"
    return observed


def change_sealers(observed: Observed, epoch: int = LATER) -> Receipt:
    """The next block of the other keys, for which those before vouch, and the one after it."""
    observed.fisco.names = names(epoch)
    observed.fisco.add_block()
    observed.fisco.add_block()
    height = len(observed.fisco.blocks)
    receipt = observed.advance(height - 1, height)
    assert receipt.accepted, receipt.code
    return receipt


def state(observed: Observed, epoch: int) -> Receipt:
    value = stated(observed.fisco, epoch)
    return observed.registry.must("update", BY_OPERATOR, chain_id=CHAIN, registration=value)


def probe(observed: Observed, epoch: int) -> Receipt:
    registry = observed.registry
    value = stated(observed.fisco, epoch)
    return registry.act("accept_update", (TECH_SIDE,), **registry.report(value))


def task(observed: Observed) -> Any:
    return observed.registry.csrc.value(f"chains/stale/{CHAIN}")


def test_other_sealers_than_registered_open_a_task_and_are_watched_all_the_same() -> None:
    observed = begun()
    receipt = change_sealers(observed)
    [changed] = events(receipt, "observed.sealers_changed")
    assert changed["registered"] is False
    [told] = events(receipt, "chain.registration_stale")
    assert (told["chain_id"], told["sealers_height"], told["generation"]) == (CHAIN, 3, 0)
    assert told["due"] == "2025-08-25"
    assert observed.registry.status() == "STALE"
    assert task(observed) == {name: told[name] for name in task(observed)}
    assert {"due", "opened_height", "opened_ms", "set_hash"} <= task(observed).keys()
    observed.fisco.add_block()
    assert observed.advance(5).accepted
    assert not events(observed.advance(5), "chain.registration_stale"), "one task, told once"


def test_the_task_is_closed_when_the_operator_states_who_seals_and_it_is_probed() -> None:
    observed = begun()
    change_sealers(observed)
    state(observed, LATER)
    assert "closed_height" not in task(observed)
    receipt = probe(observed, LATER)
    assert receipt.accepted, receipt.code
    assert events(receipt, "chain.updated")
    assert observed.registry.status() == "ACTIVE"
    assert task(observed)["closed_height"] == observed.registry.csrc.header.height


def test_an_update_that_states_others_than_seal_closes_nothing() -> None:
    observed = begun()
    change_sealers(observed)
    state(observed, STRANGE)
    assert probe(observed, STRANGE).code == "REGISTRATION_STALE"
    assert observed.registry.status() == "STALE"
    assert "closed_height" not in task(observed)


def test_sealers_that_were_stated_and_probed_before_are_no_drift() -> None:
    observed = begun()
    state(observed, LATER)
    assert events(probe(observed, LATER), "chain.update_awaited")
    receipt = change_sealers(observed)
    assert events(receipt, "chain.updated")
    assert not events(receipt, "chain.registration_stale")
    assert (observed.registry.status(), task(observed)) == ("ACTIVE", None)


def test_sealers_that_were_stated_and_not_probed_are_a_drift() -> None:
    observed = begun()
    state(observed, LATER)
    assert events(change_sealers(observed), "chain.registration_stale")


def test_where_the_registered_keys_seal_again_the_task_is_closed() -> None:
    observed = begun()
    change_sealers(observed)
    receipt = change_sealers(observed, FIRST)
    assert events(receipt, "chain.registration_agrees")
    assert observed.registry.status() == "ACTIVE"
    assert task(observed)["closed_height"] == observed.registry.csrc.header.height


def unvouched(observed: Observed) -> TrustedFisco:
    """Blocks of keys for which nobody vouched, and the checkpoint of the last."""
    observed.fisco.names = names(STRANGE)
    observed.fisco.add_block()
    observed.fisco.add_block()
    height = len(observed.fisco.blocks)
    assert observed.advance(height - 1).code == "OBSERVED_SET_UNPROVEN"
    return observed.fisco.trusted(height)


def test_sealers_that_nobody_vouched_for_are_believed_once_they_are_stated_and_probed() -> None:
    """A new checkpoint is of who is registered, or of who an update states that was probed."""
    observed = begun()
    trusted = unvouched(observed)
    assert observed.consent(trusted).accepted
    assert observed.replace(trusted).code == "OBSERVED_CHECKPOINT_OTHER"
    state(observed, STRANGE)
    assert observed.replace(trusted).code == "OBSERVED_CHECKPOINT_OTHER"
    assert events(probe(observed, STRANGE), "chain.update_awaited")
    receipt = observed.replace(trusted)
    assert receipt.accepted, receipt.code
    assert events(receipt, "chain.updated")
    assert (observed.registry.status(), task(observed)) == ("ACTIVE", None)
    observed.fisco.add_block()
    assert observed.advance(5).accepted


def test_sealers_that_changed_while_the_chain_was_suspended_are_a_drift_when_it_ends() -> None:
    observed = begun()
    registry = observed.registry
    why = {"chain_id": CHAIN, "reason": "演示"}
    registry.must("suspend", BOTH_SIDES, scope="PACKETS", **why)
    assert not events(change_sealers(observed), "chain.registration_stale")
    receipt = registry.must("resume", BOTH_SIDES, cause_closed="6f" * 32, **why)
    assert events(receipt, "chain.registration_stale")
    assert registry.status() == "STALE"


def test_sealers_that_changed_during_a_migration_are_a_drift_when_it_ends() -> None:
    observed = begun(2, ProbesContract())
    csrc = observed.registry.csrc
    assert csrc.call("probes", "migrate", {"target": None}).accepted
    assert not events(change_sealers(observed), "chain.registration_stale")
    assert events(csrc.call("probes", "migrated", {}), "chain.registration_stale")
    assert observed.registry.status() == "STALE"


def test_a_chain_that_was_observed_before_it_is_registered_is_held_against_it_then() -> None:
    observed = Observed(Registry.make(ObservedContract(2)), FiscoChain(names=names(LATER)))
    assert observed.begin(observed.fisco.trusted()).accepted
    observed.registry.bring("CONFORMANCE_PASSED", stated(observed.fisco))
    registry = observed.registry
    receipt = registry.must("approve", BOTH_SIDES, chain_id=CHAIN, digest=registry.digest())
    assert events(receipt, "chain.registration_stale")
    assert registry.status() == "STALE"


def test_version_1_tells_of_the_change_and_opens_nothing() -> None:
    """So old blocks execute as they did; what was missed is found with the next header."""
    observed = begun(version=1)
    receipt = change_sealers(observed)
    assert [event["registered"] for event in events(receipt, "observed.sealers_changed")] == [False]
    assert not events(receipt, "chain.registration_stale")
    assert (observed.registry.status(), task(observed)) == ("ACTIVE", None)
    assert observed.kept(f"signing/{CHAIN}") is None
    trusted = unvouched(observed)
    state(observed, STRANGE)
    assert events(probe(observed, STRANGE), "chain.update_awaited")
    assert observed.consent(trusted).accepted
    assert observed.replace(trusted).code == "OBSERVED_CHECKPOINT_OTHER"


def test_what_version_1_missed_is_found_with_the_next_header() -> None:
    """Where version 2 takes over from version 1, whose state knows nothing of who is held."""
    before = begun(version=1)
    change_sealers(before)
    observed = begun()
    observed.fisco = before.fisco
    values = observed.registry.csrc.state.values
    for key in [key for key in values if key.startswith(b"observed/")]:
        del values[key]
    for key, value in before.registry.csrc.state.values.items():
        if key.startswith(b"observed/"):
            values[key] = value
    observed.fisco.add_block()
    assert events(observed.advance(5), "chain.registration_stale")
    assert observed.registry.status() == "STALE"
