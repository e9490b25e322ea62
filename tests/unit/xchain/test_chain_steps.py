"""Every step of a registration at every time: taken where the table lists it, and nowhere else."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from guqiao_sdk import rules
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.chain_registry.standing import NONE, TRANSITIONS, Status
from services.consensus.domain.contracts.identity_record import IdentityRecord
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    BY_OPERATOR,
    CHECKER,
    MAKER,
    REASON,
    REGULATOR,
    TECH_SIDE,
    Registry,
    detail,
    registration,
    spoiled,
)

HANDOVER: Final = "7a" * 32

METHODS: Final[dict[str, tuple[IdentityRecord, ...]]] = {
    "give_back": BOTH_SIDES, "countersign": (REGULATOR,), "start_test": (TECH_SIDE,),
    "report": (TECH_SIDE,), "approve": BOTH_SIDES, "update": BY_OPERATOR,
    "accept_update": (TECH_SIDE,), "suspend": BOTH_SIDES, "resume": BOTH_SIDES,
    "request_deregistration": BY_OPERATOR, "consent_deregistration": (REGULATOR,),
    "deregister": BOTH_SIDES,
}  # fmt: skip


def attempt(registry: Registry, method: str) -> Receipt:
    """A step with a body that is right for it wherever it may be taken."""
    return registry.act(method, METHODS.get(method, BY_OPERATOR), **body_of(registry, method))


def body_of(registry: Registry, method: str) -> dict[str, Any]:
    digest = registry.digest()
    bodies: dict[str, dict[str, Any]] = {
        "submit": {"registration": registration()},
        "resubmit": {"registration": registration()},
        "give_back": {"chain_id": "shandong", "digest": digest, "reason": REASON},
        "report": registry.report(),
        "update": {"chain_id": "shandong", "registration": registration()},
        "accept_update": registry.report(),
        "suspend": {"chain_id": "shandong", "reason": REASON, "scope": "ALL"},
        "resume": {"chain_id": "shandong", "reason": REASON, "cause_closed": "8b" * 32},
        "request_deregistration": {
            "chain_id": "shandong", "handover": HANDOVER, "reporting_path": "专线",
        },
        "consent_deregistration": {"chain_id": "shandong", "handover": HANDOVER},
        "deregister": {"chain_id": "shandong", "handover": HANDOVER},
    }  # fmt: skip
    named_only = {"chain_id": "shandong", "digest": digest}
    return bodies.get(method, named_only)


class LifeOfAChain(RuleBasedStateMachine):
    """Any step at any time: taken where the table lists it, and nowhere else. Where keys changed in
    the meantime, a drift follows at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry.make().bring("SUBMITTED")

    @rule(method=st.sampled_from(sorted(METHODS)))
    def step(self, method: str) -> None:
        before = self.registry.standing()
        receipt = attempt(self.registry, method)
        after = self.registry.standing()
        if before["status"] not in TRANSITIONS[method]:
            assert receipt.code == "ILLEGAL_TRANSITION"
            assert detail(receipt) == {"state": before["status"], "event": method}
        if receipt.accepted:
            reached = TRANSITIONS[method][before["status"]]
            drifted = [TRANSITIONS["drift"].get(each, frozenset()) for each in reached]
            assert after["status"] in reached.union(*drifted)
        else:
            assert after == before

    @precondition(lambda self: self.registry.status() == Status.CONFORMANCE)
    @rule()
    def fail(self) -> None:
        body = self.registry.report(result="FAIL", probes=[])
        self.registry.must("report", (TECH_SIDE,), **body)

    @precondition(lambda self: self.registry.status() == Status.RETURNED)
    @rule()
    def resubmit(self) -> None:
        assert self.registry.submit(step="resubmit").accepted

    @precondition(lambda self: self.registry.status() == Status.ACTIVE)
    @rule()
    def drift(self) -> None:
        assert self.registry.advance(changes_set=True).accepted
        assert self.registry.status() == Status.STALE

    @rule()
    def submit_again(self) -> None:
        assert self.registry.submit().code == "CHAIN_ID_TAKEN"
        if self.registry.status() != Status.RETURNED:
            assert self.registry.submit(step="resubmit").code == "ILLEGAL_TRANSITION"


LifeOfAChain.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLifeOfAChain = pytest.mark.timeout(600)(LifeOfAChain.TestCase)


WAYS: Final[dict[str, tuple[str, ...]]] = {
    "SUBMITTED": (),
    "RETURNED": ("give_back",),
    "PROVINCIAL_REVIEWED": ("countersign",),
    "CONFORMANCE": ("countersign", "start_test"),
    "CONFORMANCE_PASSED": ("countersign", "start_test", "report"),
    "ACTIVE": ("countersign", "start_test", "report", "approve"),
    "SUSPENDED": ("countersign", "start_test", "report", "approve", "suspend"),
    "DEREGISTERED": (
        "countersign", "start_test", "report", "approve", "request_deregistration",
        "consent_deregistration", "deregister",
    ),
}  # fmt: skip


@pytest.mark.parametrize("status", sorted(WAYS))
def test_every_step_that_the_life_cycle_does_not_list_is_refused(status: str) -> None:
    registry = Registry.make().bring("SUBMITTED")
    for method in WAYS[status]:
        receipt = attempt(registry, method)
        assert receipt.accepted, (method, receipt.code)
    assert registry.status() == status
    for method in (*METHODS, "resubmit"):
        if status not in TRANSITIONS[method]:
            receipt = attempt(registry, method)
            facts = {"state": status, "event": method}
            assert (receipt.code, detail(receipt)) == ("ILLEGAL_TRANSITION", facts)
    assert registry.status() == status


JUNK: Final[tuple[Any, ...]] = (None, True, -1, "", "x", [], [7], [{}], {}, {"a": [1]}, "1" * 64)
BEGUN: Final[dict[str, str]] = {
    "give_back": "SUBMITTED", "countersign": "SUBMITTED", "start_test": "PROVINCIAL_REVIEWED",
    "report": "CONFORMANCE", "approve": "CONFORMANCE_PASSED",
}  # fmt: skip


FREE: Final = (
    ("reason", "x"), ("reason", "1" * 64), ("reporting_path", "x"), ("reporting_path", "1" * 64),
    ("handover", "1" * 64), ("report", "1" * 64), ("cause_closed", "1" * 64),
)  # fmt: skip
"""What may stand there after all, and is left out."""


@pytest.mark.parametrize("method", sorted(METHODS))
def test_whatever_stands_in_a_body_is_refused_by_a_code_of_the_catalogue(method: str) -> None:
    """Any other failure of a contract would stop every replica."""
    registry = Registry.make().bring(BEGUN.get(method, "ACTIVE"))
    if method == "resume":
        assert attempt(registry, "suspend").accepted
    moved = spoiled("data_model_version", "x", spoiled("rpc_endpoints.1.host_id", "other"))
    if method == "accept_update":
        body = {"chain_id": "shandong", "registration": moved}
        assert registry.act("update", BY_OPERATOR, **body).accepted
    if method in ("consent_deregistration", "deregister"):
        assert attempt(registry, "request_deregistration").accepted
    good = registry.report(moved) if method == "accept_update" else body_of(registry, method)
    for member, junk in itertools.product(good, JUNK):
        if (member, junk) not in FREE:
            receipt = registry.act(method, METHODS[method], **{**good, member: junk})
            assert rules.rule(receipt.code).severity == "reject"
    assert registry.act(method, METHODS[method], **good).accepted or method == "deregister"


LIFE: Final = """
NONE submit SUBMITTED
SUBMITTED give_back RETURNED
RETURNED resubmit SUBMITTED
SUBMITTED countersign PROVINCIAL_REVIEWED
PROVINCIAL_REVIEWED start_test CONFORMANCE
CONFORMANCE report CONFORMANCE_PASSED
CONFORMANCE report CONFORMANCE_FAILED
CONFORMANCE_FAILED start_test CONFORMANCE
CONFORMANCE_FAILED give_back RETURNED
CONFORMANCE_PASSED approve ACTIVE
ACTIVE update ACTIVE
STALE update STALE
ACTIVE accept_update ACTIVE
STALE accept_update ACTIVE
ACTIVE drift STALE
STALE agree ACTIVE
ACTIVE suspend SUSPENDED
STALE suspend SUSPENDED
SUSPENDED resume ACTIVE
ACTIVE open_migration MIGRATING
MIGRATING close_migration ACTIVE
ACTIVE request_deregistration ACTIVE
SUSPENDED request_deregistration SUSPENDED
ACTIVE consent_deregistration ACTIVE
SUSPENDED consent_deregistration SUSPENDED
ACTIVE deregister DEREGISTERED
SUSPENDED deregister DEREGISTERED
ACTIVE propose_client ACTIVE
STALE propose_client STALE
SUSPENDED propose_client SUSPENDED
MIGRATING propose_client MIGRATING
ACTIVE consent_client ACTIVE
STALE consent_client STALE
SUSPENDED consent_client SUSPENDED
MIGRATING consent_client MIGRATING
ACTIVE replace_client ACTIVE
STALE replace_client STALE
SUSPENDED replace_client SUSPENDED
MIGRATING replace_client MIGRATING
STALE replace_client ACTIVE
"""
"""SM-1 of the requirements in this contract's words, with two ways out of a failed test, and what
the design says of a frozen light client (section 7).
"""


def test_the_table_is_the_one_of_the_requirements() -> None:
    table = {
        (str(source), step, str(target))
        for step, ways in TRANSITIONS.items()
        for source, targets in ways.items()
        for target in targets
    }
    assert table == {tuple(line.split()) for line in LIFE.strip().splitlines()}


def test_the_table_leaves_every_status_but_the_last() -> None:
    sources = set(itertools.chain.from_iterable(TRANSITIONS.values()))
    assert sources == set(Status) - {Status.DEREGISTERED} | {NONE}


def test_a_step_names_a_chain_that_is_registered() -> None:
    registry = Registry.make()
    for method, who in METHODS.items():
        bodies: dict[str, Any] = {
            "report": registry.report(registration()),
            "accept_update": registry.report(registration()),
            "give_back": {"digest": "x", "reason": "x"}, "update": {"registration": registration()},
            "suspend": {"reason": "x", "scope": "ALL"},
            "resume": {"reason": "x", "cause_closed": "x"},
            "request_deregistration": {"handover": "x", "reporting_path": "x"},
            "consent_deregistration": {"handover": "x"}, "deregister": {"handover": "x"},
        }  # fmt: skip
        body = {**bodies.get(method, {"digest": "x"}), "chain_id": "shandong"}
        assert registry.act(method, who, **body).code == "CHAIN_UNKNOWN", method
        assert registry.act(method, who, **body, more=1).code == "BODY_MALFORMED"
    receipt = registry.act("resubmit", (MAKER, CHECKER), registration=registration())
    assert (receipt.code, detail(receipt)["state"]) == ("ILLEGAL_TRANSITION", NONE)
