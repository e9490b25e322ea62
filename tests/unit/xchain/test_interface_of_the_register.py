"""The description of what the register sends is true of every object of its datasets.

Goal: `data/interfaces/guqiao-1.json`, which a network's notices can begin with, says what is sent:
no path more or less, each with its type, mandatory where all objects of the kind have it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from services.consensus.domain.contracts.notice.interface import FORMAT, read_interface
from services.consensus.domain.contracts.object_life.body_form import REFERENCE, judge_body
from services.consensus.domain.contracts.register.contract import REGISTER_V5
from services.consensus.domain.contracts.register.data_objects import MODEL_VERSION
from tests.unit.contracts.action_market import CHECKER, actions_on
from tests.unit.contracts.memory_host import Outcome
from tests.unit.contracts.register_market import dataset, loaded_host

FILE: Final = Path(__file__).parents[3] / "data" / "interfaces" / "guqiao-1.json"
DATASETS: Final = ("market-basic", "market-tiny")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The paths of a body and their types; elements of a list are `[]`."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        if not any(isinstance(each, dict) for each in value):
            yield path, "list"
        for each in value:
            if isinstance(each, dict):
                yield from leaves(each, f"{path}[]")
    elif value is not None:
        names = {bool: "boolean", int: "integer", str: "text"}
        refers = isinstance(value, str) and REFERENCE.fullmatch(value)
        yield path, "reference" if refers else names[type(value)]


@cache
def bodies() -> dict[str, list[Any]]:
    """The body of each object of the datasets, by the kind of object."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name in DATASETS:
        market = dataset(name)
        host = loaded_host(market, REGISTER_V5)
        for event in market.events:
            keep(found, host.run(REGISTER_V5, event.type, event.body, time=event.time))
        host.second_party, time = CHECKER, market.events[-1].time
        for method, action in actions_on(host, time[:10]):
            outcome = host.run(REGISTER_V5, method, action, time=time)
            assert outcome.code is None, (method, outcome.code)
            keep(found, outcome)
    return found


def keep(found: dict[str, list[Any]], outcome: Outcome) -> None:
    for _, body in outcome.packets:
        value: Any = body
        assert value["header"]["model"]["version"] == MODEL_VERSION
        found[value["header"]["content"]["type"]].append(value["body"])


def sent() -> dict[str, list[dict[str, str]]]:
    """What each object of the datasets holds, by the kind of object."""
    return {kind: [dict(leaves(each)) for each in found] for kind, found in bodies().items()}


def described(kinds: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for kind, objects in kinds.items():
        types: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for each in objects:
            assert all(types.get(path, each[path]) == each[path] for path in each), "one type"
            types |= each
            counts.update(each.keys())
        parts[f"object.{kind}"] = {
            "fields": {
                path: {"type": types[path], "required": counts[path] == len(objects)}
                for path in sorted(types)
            }
        }
    return {"format": FORMAT, "model_version": MODEL_VERSION, "parts": parts}


@pytest.mark.req("G2-14-4")
def test_the_description_is_what_the_register_sends() -> None:
    kinds = sent()
    assert set(kinds) == {"account", "registration", "settlement", "subject"}
    value = json.loads(FILE.read_text(encoding="utf-8"))
    assert read_interface(value).to_json() == value
    assert value == described(kinds)


@pytest.mark.req("N0-37", "N0-42")
def test_every_object_of_the_register_is_what_the_description_takes() -> None:
    parts = json.loads(FILE.read_text(encoding="utf-8"))["parts"]
    referring = 0
    for kind, found in bodies().items():
        fields = parts[f"object.{kind}"]["fields"]
        for body in found:
            referring += len(judge_body(fields, body))
    assert referring > 100
