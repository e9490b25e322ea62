"""The template of the register and the register say the same, in both directions.

Goal: every operation, argument, event, data object and key of the state that whole datasets bring
about is in the template with its type, and all that the template names is brought about by them.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk import register_rules
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.template_files import load_template
from services.consensus.domain.contracts.register import data_objects
from services.consensus.domain.contracts.register.contract import METHODS, REGISTER_V5
from services.consensus.domain.contracts.register.program import register_program
from services.consensus.domain.contracts.template.conformance import deviations
from services.consensus.domain.contracts.template.model import Template, Transition
from services.consensus.domain.contracts.template.shapes import Field, Form, TieredField
from services.consensus.domain.contracts.template.values import Fault, Shapes
from services.consensus.domain.contracts.template.vocabulary import RECORD, Label, Tier
from tests.unit.contracts.action_market import CHECKER, actions_on
from tests.unit.contracts.memory_host import MemoryHost, Outcome
from tests.unit.contracts.register_market import dataset, identity_digest

FILE: Final = Path(register_rules.__file__).parent / "register.yaml"
DATASETS: Final = ("market-basic", "market-tiny")
HEADER: Final = ("model", "source", "content", "remark", "seal", "metadata")


@cache
def template() -> Template:
    return load_template(FILE)


@cache
def shapes() -> Shapes:
    found = Shapes.of(template())
    assert found is not None
    return found


@cache
def of_record(name: str) -> Shapes:
    """The one value `body` that is this record."""
    label = Label("甲", "a")
    value = Field("body", RECORD, label, None, (), is_optional=False, record=name)
    return Shapes((TieredField(value, Tier.RESTRICTED),), template().records)


def transition(method: str) -> Transition:
    return next(each for each in template().transitions if each.method == method)


@dataclass
class Seen:
    """What calls brought about that were accepted."""

    bodies: dict[str, dict[str, Json]] = field(default_factory=dict)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    topics: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    events: list[tuple[str, Json]] = field(default_factory=list)
    objects: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    states: list[dict[str, Json]] = field(default_factory=list)
    passing: dict[str, Json] = field(default_factory=dict)
    """Queues, which are gone once nobody waits."""

    def call(self, host: MemoryHost, method: str, body: Any, time: str | None) -> Outcome:
        outcome = host.run(REGISTER_V5, method, body, time=time)
        if outcome.code is None:
            self.bodies.setdefault(method, body)
            for name, value in body.items():
                fault = shapes().fault(name, value)
                if fault is not None:
                    self.faults.append((method, fault))
            self.topics[method] |= {topic for topic, _ in outcome.events}
            self.events += outcome.events
            self.objects[method] += [packet for _, packet in outcome.packets]
            self.passing |= dict(host.scan("waiting/", 1_000))
        return outcome


@cache
def seen() -> Seen:
    found = Seen()
    for name in DATASETS:
        market, host = dataset(name), MemoryHost()
        host.put("parameters", {"historic_import": True, "checker_required": []})
        for method, body in market.reference_calls(identity_digest):
            assert found.call(host, method, body, None).code is None
        for event in market.events:
            found.call(host, event.type, event.body, event.time)
        host.second_party, time = CHECKER, market.events[-1].time
        for method, action in actions_on(host, time[:10]):
            assert found.call(host, method, action, time).code is None, method
        assert found.call(host, "close_historic_import", {}, None).code is None
        found.states.append({key: value for key, value in host.scan("", 1_000_000)})
    return found


def test_it_is_of_the_very_program_that_replicas_run() -> None:
    own = template().own
    assert own is not None
    assert (own.name, own.version) == (REGISTER_V5.name, REGISTER_V5.version)
    assert own.form == register_program().module.digest.hex()
    assert deviations(template(), register_program().module) == []


@pytest.mark.req("G2-08-4")
def test_its_methods_are_those_that_the_chain_answers_to() -> None:
    methods = [each.method for each in template().transitions]
    assert sorted(methods) == sorted(METHODS) == sorted(seen().bodies)


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_takes_the_arguments_that_the_template_names_and_no_other(method: str) -> None:
    body = seen().bodies[method]
    assert set(transition(method).takes) == set(body)
    for name in body:
        without = {each: value for each, value in body.items() if each != name}
        code, place, fault = refusal(method, without)
        assert (code, place) == ("BODY_MALFORMED", name), "each is asked for"
        assert fault == "missing" or fault.startswith("not "), fault
    code, place, fault = refusal(method, {**body, "other": 1})
    assert (code, place, fault) == ("BODY_MALFORMED", "other", "unknown")


@pytest.mark.req("G2-08-4")
def test_what_an_accepted_call_was_given_is_what_the_template_says() -> None:
    assert seen().faults == []


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize(
    ("method", "name"),
    [
        (each.method, name)
        for each in template().transitions
        for name in each.takes
        if (found := template().values[name].field).many is not None
        and found.record is not None
        and found.many.form is Form.LIST
    ],
)
def test_a_line_of_a_list_has_the_members_that_the_template_names_and_no_other(
    method: str, name: str
) -> None:
    body = seen().bodies[method]
    rows: Any = body[name]
    assert rows, "the sample has a line"
    for each in template().record_of(str(template().values[name].field.record)).fields:
        spoiled: Any = copy.deepcopy(body)
        del spoiled[name][0][each.field.name]
        code, place, _ = refusal(method, spoiled)
        assert (code, place) == ("BODY_MALFORMED", f"{name}[0].{each.field.name}")
    spoiled = copy.deepcopy(body)
    spoiled[name][0]["other"] = 1
    assert refusal(method, spoiled) == ("BODY_MALFORMED", f"{name}[0].other", "unknown")


def refusal(method: str, body: dict[str, Json]) -> tuple[str | None, Any, str]:
    """How a host that has the reference data of a dataset refuses a call."""
    host = MemoryHost()
    host.put("parameters", {"historic_import": True})
    host.put("market", seen().states[0]["market"])
    host.second_party = CHECKER
    time = dataset(DATASETS[0]).events[0].time
    outcome = host.run(REGISTER_V5, method, body, time=time)
    return outcome.code, outcome.fields.get("field"), str(outcome.fields.get("fault"))


@pytest.mark.req("G2-08-5")
def test_a_method_announces_the_events_that_the_template_names_and_no_other() -> None:
    for method, topics in seen().topics.items():
        step = transition(method)
        assert topics <= set(step.events), method
        assert step.event is None or step.event in topics, method
    made = {topic for topics in seen().topics.values() for topic in topics}
    assert made == {each.topic for each in template().events}


@pytest.mark.req("G2-08-5", "G2-17-4", "G2-17-5")
def test_the_body_of_an_event_is_the_record_that_the_template_names() -> None:
    records = {each.topic: str(each.record) for each in template().events}
    for topic, body in seen().events:
        assert of_record(records[topic]).fault("body", body) is None, topic
        spoiled: Any = {**body, "other": 1} if isinstance(body, dict) else None
        assert of_record(records[topic]).fault("body", spoiled) is not None


@pytest.mark.req("N0-07")
def test_its_data_objects_are_those_that_the_register_sends() -> None:
    kinds = {method: each for each in template().objects for method in each.methods}
    members: dict[str, set[str]] = defaultdict(set)
    for method, sent in seen().objects.items():
        assert bool(sent) is (method in kinds), method
        for each in sent:
            kind, header = kinds[method], each["header"]
            assert set(header) == set(HEADER)
            model, content = header["model"], header["content"]
            assert (model["protocol"], model["version"]) == (kind.protocol, kind.model_version)
            assert (content["type"], content["operation"]) == (kind.type, kind.operation)
            assert content["version"] == kind.object_version
            members[kind.type] |= set(each["body"])
    assert members == {each.type: set(each.body) for each in template().objects}
    assert {each.model_version for each in template().objects} == {data_objects.MODEL_VERSION}


@pytest.mark.req("G2-17-4", "G2-17-5")
def test_its_groups_are_what_the_register_keeps() -> None:
    kept = set()
    for state in (*seen().states, seen().passing):
        for key, value in state.items():
            group = next(
                each
                for each in template().groups
                if (key.startswith(each.state) if each.state.endswith("/") else key == each.state)
            )
            kept.add(group.name)
            assert shapes().fault(group.fields[0].name, value) is None, key
    assert kept == {each.name for each in template().groups}
