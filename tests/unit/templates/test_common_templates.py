"""The common set runs: every step of every template, by whom it asks for, and nobody else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from services.consensus.domain.contracts.template.vocabulary import DESCRIPTION, STATE, Tier
from tests.unit.templates.common_walks import SPOILED, WALKS
from tests.unit.templates.template_market import CHECKER, FOLDER, MAKER, Market, party
from tests.unit.templates.walk_steps import Spoiled, Step, Walk

ALL = [(name, walk) for name, walks in WALKS.items() for walk in walks]
BAD = [(name, each) for name, cases in SPOILED.items() for each in cases]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(ALL)]


def key_of(market: Market, step: Step) -> str:
    business_id = step.arguments[market.template.key]
    assert isinstance(business_id, str)
    return business_id


def walked(name: str, walk: Walk) -> Market:
    market = Market(name)
    for each in walk:
        ended = market.take(each.method, **each.arguments)
        assert ended.code is None, (each, ended)
    return market


@pytest.mark.req("G2-08-6")
def test_every_template_of_the_folder_is_walked_whole() -> None:
    assert sorted(WALKS) == sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(SPOILED)
    for name, walks in WALKS.items():
        market = Market(name)
        methods = {each.method for walk in walks for each in walk}
        assert methods == {each.method for each in market.template.transitions}, name
        reached = {market.transition(method).target for method in methods}
        assert reached == {each.name for each in market.template.states}, name


@pytest.mark.req("G2-08-5")
@pytest.mark.parametrize(("name", "walk"), ALL, ids=IDS)
def test_a_walk_leaves_its_states_its_events_and_a_trace_of_every_step(
    name: str, walk: Walk
) -> None:
    market = Market(name)
    taken: dict[str, list[dict[str, Any]]] = {}
    for each in walk:
        step, business_id = market.transition(each.method), key_of(market, each)
        ended = market.take(each.method, **each.arguments)
        assert ended.code is None, (each, ended)
        assert market.stands(business_id) == step.target
        [(topic, body)] = ended.events
        event = next(found for found in market.template.events if found.topic == topic)
        assert topic == step.event
        assert set(body) == set(event.members)
        assert (body[market.template.key], body[STATE]) == (business_id, step.target)
        steps = taken.setdefault(business_id, [])
        steps.append(
            {
                "number": len(steps) + 1,
                "step": each.method,
                "state": step.target,
                "maker": MAKER,
                "checker": CHECKER if step.checker else None,
                "height": market.height,
                "time": 1_767_578_400_000 + market.height,
            }
        )
        assert market.look("trace", business_id=business_id) == steps
    assert market.look("trace", business_id="none") == []


@pytest.mark.req("G2-17-3")
@pytest.mark.parametrize(("name", "walk"), ALL, ids=IDS)
def test_nobody_takes_a_step_but_whom_the_template_names(name: str, walk: Walk) -> None:
    market = Market(name)
    roles = {each.name for each in market.template.roles}
    for each in walk:
        step = market.transition(each.method)
        maker, checker = party(MAKER, step.role), party(CHECKER, step.checker or "x")
        other = party(MAKER, *(roles - {step.role}))
        before = dict(market.state)
        ended = market.call(each.method, other, checker, **each.arguments)
        assert (ended.code, ended.fields) == ("ROLE_MISSING", {"roles": step.role})
        if step.checker:
            alone = market.call(each.method, maker, None, **each.arguments)
            same = party(MAKER, step.role, step.checker)
            twice = market.call(each.method, same, same, **each.arguments)
            wrong = party(CHECKER, *(roles - {step.checker}))
            unfit = market.call(each.method, maker, wrong, **each.arguments)
            codes = (alone.code, twice.code, unfit.code)
            assert codes == ("CHECKER_MISSING", "CHECKER_IS_MAKER", "ROLE_MISSING")
        assert market.state == before
        assert market.take(each.method, **each.arguments).code is None


@pytest.mark.req("G2-20-2")
@pytest.mark.parametrize(("name", "walk"), ALL, ids=IDS)
def test_a_step_that_the_state_does_not_allow_is_refused(name: str, walk: Walk) -> None:
    samples = {each.method: each for walk in WALKS[name] for each in walk}
    for length in range(len(walk) + 1):
        market = walked(name, walk[:length])
        for business_id in {key_of(market, each) for each in walk}:
            state = market.stands(business_id)
            for step in market.template.transitions:
                if state in step.sources or (state is None and not step.sources):
                    continue
                given = samples[step.method].spoiled(**{market.template.key: business_id})
                ended = market.take(step.method, **given.arguments)
                facts = {"state": state or "NONE", "event": step.method}
                assert (ended.code, ended.fields) == ("ILLEGAL_TRANSITION", facts)


@pytest.mark.parametrize(
    ("name", "case"), BAD, ids=[f"{name}-{number}" for number, (name, _) in enumerate(BAD)]
)
def test_what_breaks_a_rule_of_the_business_is_refused_and_changes_nothing(
    name: str, case: Spoiled
) -> None:
    before, spoiled, code = case
    market = walked(name, before)
    state = dict(market.state)
    ended = market.take(spoiled.method, **spoiled.arguments)
    assert ended.code == code, ended
    assert market.state == state


@pytest.mark.req("G2-17-4", "G2-17-5", "G2-17-7", "G2-17-8")
@pytest.mark.parametrize(("name", "walk"), ALL, ids=IDS)
def test_each_tier_is_on_chain_as_it_has_to_be(name: str, walk: Walk) -> None:
    market = walked(name, walk)
    groups = {group.state: group for group in market.template.groups}
    for key, record in market.state.items():
        prefix = key[: key.index("/") + 1]
        if prefix == market.template.supervision.state:
            continue
        group = groups[prefix]
        if group.tier is Tier.NONPUBLIC:
            assert set(record) == set(DESCRIPTION)
        elif isinstance(record, dict):
            fields = {field.name for field in group.fields}
            assert set(record) - {STATE} == fields
        else:
            assert len(group.fields) == 1


def shared(name: str) -> dict[str, Any]:
    """The functions of a contract without their lines."""
    module = Market(name).template.contract.module
    return {node[2]: without_lines(node) for node in module.functions}


def without_lines(part: Any) -> Any:
    if not isinstance(part, list):
        return part
    is_node = len(part) > 1 and isinstance(part[0], str) and type(part[1]) is int
    kept = [part[0], *part[2:]] if is_node else part
    return [without_lines(each) for each in kept]


COMMON = ("_maker", "_checker", "_identifier", "_text", "_whole", "_one_of", "_digest", "_date")
COMMON_TOO = ("_last_day", "_month", "_today", "_uscc", "_expect", "_step", "trace")


def test_what_contracts_share_is_the_same_in_all_of_them() -> None:
    """There are no imports in star/1: a function that several contracts have is there in each."""
    for one, other in itertools.combinations(sorted(WALKS), 2):
        first, second = shared(one), shared(other)
        for function in {*COMMON, *COMMON_TOO} & first.keys() & second.keys():
            assert first[function] == second[function], (one, other, function)
