"""The life cycle of a template as a record keeps it, and the guard of one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.life_cycle import LifeCycle, Step
from services.consensus.domain.contracts.template.life_cycle_guard import LifeCycleGuard
from services.consensus.domain.contracts.template.tiers import TierMap
from tests.unit.templates.orders import orders
from tests.unit.templates.template_market import CHECKER, FOLDER, MAKER, party, template

NAMES: Final = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TRANSFER: Final = LifeCycle.of(template("transfer"))
TIERS: Final = TierMap.of(template("transfer"))
RECORD: Final[dict[str, Json]] = {"transfer_id": "T1", "product": "P1", "state": "CREDITED"}
REGISTRAR: Final = party(MAKER, "registrar")
SECOND: Final = party(CHECKER, "registration_checker")


def guard(method: str = "credit", maker: Any = REGISTRAR, checker: Any = SECOND) -> LifeCycleGuard:
    return LifeCycleGuard(TRANSFER, TIERS, Meter(10_000, GasTable()), method, maker, checker)


def nothing() -> None:
    return None


def credit(held: LifeCycleGuard) -> LifeCycleGuard:
    """What the step does by the template."""
    held.write("transfer/T1", RECORD, nothing)
    held.write("trace/T1/000001", {"number": 1}, nothing)
    held.event("transfer.credited", RECORD)
    return held


def code(ask: Callable[[], object]) -> str:
    with pytest.raises(ContractError) as refused:
        ask()
    return refused.value.code


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("name", NAMES)
def test_what_a_record_keeps_of_a_life_cycle_is_read_again(name: str) -> None:
    found = LifeCycle.of(template(name))
    kept = canonical_json(found.to_json())
    again = LifeCycle.from_json(parse_json_strict(kept, depth_max=8, size_max=1 << 16))
    assert again == found


def test_format_2_brings_its_alternatives() -> None:
    found = LifeCycle.of(read_template(orders())).by_method["place"]
    assert (found.roles, found.more_events) == (("maker", "registrar"), ("order.terms",))


def test_a_second_signer_of_the_parameters_is_not_asked_for() -> None:
    (step,) = [each for each in template("transfer").transitions if each.method == "credit"]
    assert Step.of(step).checkers == ("registration_checker",)
    assert Step.of(replace(step, checker_by_parameter=True)).checkers == ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value | {"more": 1},
        lambda value: {name: each for name, each in value.items() if name != "views"},
        lambda value: value | {"roles": [1]},
        lambda value: value | {"steps": [{}]},
        lambda value: value | {"steps": [value["steps"][0] | {"event": None}]},
        lambda value: value | {"steps": [value["steps"][0] | {"from": [["APPLIED"]]}]},
        lambda value: [value],
    ],
)
def test_what_is_no_life_cycle_is_refused(spoil: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="not a"):
        LifeCycle.from_json(spoil(TRANSFER.to_json()))


@pytest.mark.req("G2-08-4", "G2-08-5")
def test_a_step_by_the_template_ends_well() -> None:
    credit(guard()).ended()


@pytest.mark.req("G2-08-4", "G2-17-3")
@pytest.mark.parametrize(
    ("maker", "checker"),
    [
        (party(MAKER), SECOND),
        (party(MAKER, "registration_checker"), SECOND),
        (REGISTRAR, None),
        (REGISTRAR, party(CHECKER, "registrar")),
        (party(MAKER, "registrar", "registration_checker"), party(MAKER, "registration_checker")),
    ],
)
def test_who_signs_has_the_role_and_is_two_people(maker: Any, checker: Any) -> None:
    assert code(credit(guard(maker=maker, checker=checker)).ended) == "TEMPLATE_ROLE_MISSING"


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("view", ["terms", "trace"])
def test_a_view_touches_nothing(view: str) -> None:
    held = guard(view, party(MAKER), None)
    held.ended()
    for ask in (
        lambda: held.write("transfer/T1", RECORD, nothing),
        lambda: held.delete("terms/T1"),
        lambda: held.event("transfer.credited", RECORD),
    ):
        assert code(ask) == "TEMPLATE_VIEW_WRITES"


@pytest.mark.req("G2-08-4")
def test_a_method_that_the_template_does_not_name_ends_badly() -> None:
    assert code(credit(guard("grab")).ended) == "TEMPLATE_TRANSITION_WRONG"


@pytest.mark.req("G2-08-5")
def test_each_business_that_a_step_moves_has_its_event_and_its_step() -> None:
    other = RECORD | {"transfer_id": "T2"}
    held = credit(guard())
    held.write("transfer/T2", other, nothing)
    assert code(held.ended) == "TEMPLATE_EVENT_MISSING"
    held.event("transfer.credited", other)
    assert code(held.ended) == "TEMPLATE_STEP_MISSING"
    held.write("trace/T2", 1, nothing)
    held.ended()


@pytest.mark.req("G2-08-5")
def test_where_a_business_was_is_where_it_was_before_the_call() -> None:
    applied = RECORD | {"state": "APPLIED"}
    for before, first, is_right in ((None, applied, True), (applied, RECORD, False)):
        held = guard()
        held.write("transfer/T1", first, lambda: before)  # noqa: B023 - asked at once
        credit(held)
        if is_right:
            held.ended()
        else:
            assert code(held.ended) == "TEMPLATE_TRANSITION_WRONG"


@pytest.mark.req("G2-08-5")
def test_what_never_began_is_not_completed() -> None:
    completed = RECORD | {"state": "COMPLETED"}
    for before, is_right in ((RECORD | {"state": "APPLIED"}, True), (None, False)):
        held = guard("complete")
        held.write("transfer/T1", completed, lambda: before)  # noqa: B023 - asked at once
        held.write("trace/T1", 2, nothing)
        held.event("transfer.completed", completed)
        if is_right:
            held.ended()
        else:
            assert code(held.ended) == "TEMPLATE_TRANSITION_WRONG"


def test_looking_up_where_a_business_was_is_paid_for_once() -> None:
    held = guard()
    held.write("transfer/T1", RECORD, lambda: RECORD | {"product": "P" * 640})
    used = held.meter.used
    assert used > held.meter.table.read
    held.write("transfer/T1", RECORD, nothing)
    assert held.meter.used == used
    poor = replace(held, meter=Meter(used - 1, GasTable()), _businesses={})
    with pytest.raises(OutOfGas):
        poor.write("transfer/T1", RECORD, lambda: RECORD | {"product": "P" * 640})


@pytest.mark.req("G2-17-6", "G2-19-1")
@pytest.mark.parametrize("role", ["registrar", "operator_maker", "supervisor", "observer"])
def test_who_has_a_role_reads_what_is_restricted_and_the_call_is_marked(role: str) -> None:
    for key, is_restricted in (("transfer/T1", False), ("terms/T1", True), ("terms/", True)):
        held = guard("terms", party(MAKER, role), None)
        held.require_readable(key)
        assert held.has_read_restricted is is_restricted


@pytest.mark.req("G2-17-6", "G2-19-1")
@pytest.mark.parametrize("roles", [(), ("contract_reviewer",), ("registrarx",)])
def test_who_has_none_does_not(roles: tuple[str, ...]) -> None:
    held = guard("terms", party(MAKER, *roles), None)
    held.require_readable("transfer/T1")
    held.found("trace/T1/000001", {"number": 1, "state": "APPLIED", "product": "P1"})
    assert code(lambda: held.require_readable("terms/T1")) == "READ_CONDITION_UNMET"
    assert code(lambda: held.found("terms/T1", {})) == "READ_CONDITION_UNMET", "in a wider scan"
    kept: tuple[Json, ...] = ({"number": 1, "price": 3}, [{"number": 1}, {"price": 3}])
    for steps in kept:
        assert code(lambda: held.found("trace/T1/1", steps)) == "READ_CONDITION_UNMET"  # noqa: B023
    assert not held.has_read_restricted
