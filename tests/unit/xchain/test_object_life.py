"""The life cycle of data objects from version 2 of `objects` on (SM-11), against a small model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.xchain.object_regulator import OBJECT_ID, Regulator, reported, seal

A: dict[str, Any] = {"name": "a", "n": 1}
B: dict[str, Any] = {"name": "b", "n": 1}
C: dict[str, Any] = {"name": "c", "n": 1}


def in_life(*steps: tuple[str, int, Any]) -> Regulator:
    host = Regulator()
    for operation, version, body in steps:
        assert host.code(reported(operation, version, body)) == "", (operation, version)
    return host


@pytest.mark.req("N0-42")
def test_the_latest_version_is_overwritten_whole_and_what_it_was_stays() -> None:
    host = in_life(("create", 0, A), ("update", 1, {"n": 2}))
    before = host.get(f"{OBJECT_ID}/1")
    assert host.code(reported("overwrite", 1, C)) == ""
    assert host.latest() == {"version": 1, "status": "CURRENT"}
    assert host.get(f"{OBJECT_ID}/snapshot") == C
    assert host.get(f"{OBJECT_ID}/1/replaced/{0:020d}") == before
    stored: Any = host.get(f"{OBJECT_ID}/1")
    assert (stored["object"]["body"], stored["revision"]) == (C, 1)
    topic, told = host.events[-1]
    assert isinstance(told, dict)
    assert (topic, told["operation"], told["revision"]) == ("object.recorded", "overwrite", 1)
    assert host.code(reported("update", 2, {"n": 3})) == ""
    assert host.get(f"{OBJECT_ID}/snapshot") == {**C, "n": 3}


@pytest.mark.req("N0-42")
def test_whoever_rewrites_a_version_rewrites_every_later_one() -> None:
    host = in_life(("create", 0, A), ("update", 1, {"n": 2}), ("update", 2, {"n": 3}))
    assert host.code(reported("overwrite", 0, B)) == ""
    assert host.latest() == {"version": 2, "status": "REWRITING", "due": 1}
    steps: tuple[tuple[str, int, Any], ...] = (
        ("update", 3, {"n": 4}),
        ("delete", 3, {}),
        ("overwrite", 2, B),
        ("create", 0, B),
    )
    for operation, version, body in steps:
        refused = host.take(reported(operation, version, body))
        assert refused["code"] == "ILLEGAL_TRANSITION"
        assert refused["detail"]["state"] == "REWRITING"
    assert host.get(f"{OBJECT_ID}/snapshot") == {**A, "n": 3}
    assert host.code(reported("overwrite", 1, {**B, "n": 5})) == ""
    assert host.code(reported("overwrite", 2, {**B, "n": 6})) == ""
    assert host.latest() == {"version": 2, "status": "CURRENT"}
    assert host.get(f"{OBJECT_ID}/snapshot") == {**B, "n": 6}
    assert host.code(reported("update", 3, {"n": 7})) == ""


def test_an_overwritten_first_version_is_what_the_next_update_is_merged_with() -> None:
    host = in_life(("create", 0, A), ("overwrite", 0, B), ("update", 1, {"n": 9}))
    assert host.get(f"{OBJECT_ID}/snapshot") == {**B, "n": 9}


@pytest.mark.parametrize("operation", ["create", "update", "overwrite", "delete"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_nothing_follows_a_deletion(operation: str, version: int) -> None:
    host = in_life(("create", 0, A), ("delete", 1, {}))
    body: Any = {} if operation == "delete" else A
    refused = host.take(reported(operation, version, body))
    assert (refused["code"], refused["detail"]["state"]) == ("ILLEGAL_TRANSITION", "DELETED")
    history: Any = host.get(f"{OBJECT_ID}/0")
    assert history["object"]["body"] == A


@pytest.mark.req("G2-19-5")
@pytest.mark.parametrize(
    ("operation", "version", "body"),
    [("update", 1, {"n": 2}), ("overwrite", 0, B), ("delete", 1, {})],
)
def test_a_change_needs_the_seals_of_two_persons(operation: str, version: int, body: Any) -> None:
    for seals in ([seal("aa")], [seal("aa"), seal("aa")]):
        host = in_life(("create", 0, A))
        value = reported(operation, version, body)
        value["header"]["seal"] = seals
        refused = host.take(value)
        assert (refused["code"], host.exception(2)["state"]) == ("CHECKER_MISSING", "PROOF_FAILED")
        assert host.code(reported(operation, version, body)) == ""


def test_one_person_may_report_what_is_new() -> None:
    value = reported()
    value["header"]["seal"] = [seal("aa")]
    assert Regulator().code(value) == ""


def part(number: int, operation: str = "create", version: int = 0) -> dict[str, Any]:
    """The first or the second of two parts."""
    told: Any = {"of": OBJECT_ID, "number": number, "count": 2, "body_digest": "cd" * 32}
    suffix = "" if number == 1 else f":{number}"
    body: Any = {} if operation == "delete" else A
    object_id = OBJECT_ID + suffix
    return reported(operation, version, body, object_id=object_id, metadata={"part": told})


@pytest.mark.parametrize(("operation", "version"), [("update", 1), ("overwrite", 0), ("delete", 1)])
def test_an_object_in_parts_is_never_changed(operation: str, version: int) -> None:
    host = Regulator()
    assert [host.code(part(1)), host.code(part(2))] == ["", ""]
    plain = reported(operation, version, {} if operation == "delete" else B)
    for value in (plain, part(1, operation, version), part(2, operation, version)):
        refused = host.take(value)
        assert refused["code"] == "SCHEMA_FAILED"
        assert refused["detail"]["field"] == "header.metadata.part"


@dataclass
class Model:
    """What SM-11 says, in other words than the contract's: the bodies by version, and which of them
    wait for being rewritten.
    """

    bodies: list[dict[str, Any]] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)
    is_deleted: bool = False

    def step(self, operation: str, version: int, body: dict[str, Any]) -> bool:
        if self.is_deleted:
            return False
        if not self.bodies:
            return operation == "create" and version == 0 and self._append(body)
        if operation == "overwrite":
            return self._overwrite(version, body)
        if self.waiting or version != len(self.bodies):
            return False
        if operation == "update":
            whole = {**self.bodies[-1], **body}
            whole = {name: value for name, value in whole.items() if value is not None}
            return bool(whole) and self._append(whole)
        self.is_deleted = operation == "delete"
        return self.is_deleted

    def _append(self, body: dict[str, Any]) -> bool:
        self.bodies.append(body)
        return True

    def _overwrite(self, version: int, body: dict[str, Any]) -> bool:
        if version >= len(self.bodies) or (self.waiting and version > min(self.waiting)):
            return False
        self.bodies[version] = body
        self.waiting = set(range(version + 1, len(self.bodies)))
        return True


names = st.sampled_from(["a", "b", "c"])
whole = st.dictionaries(names, st.integers(0, 9), min_size=1)
patches = st.dictionaries(names, st.integers(0, 9) | st.none(), min_size=1)
histories: st.SearchStrategy[tuple[str, int, Any]] = st.one_of(
    st.tuples(st.just("create"), st.integers(0, 1), whole),
    st.tuples(st.just("update"), st.integers(0, 5), patches),
    st.tuples(st.just("overwrite"), st.integers(0, 5), whole),
    st.tuples(st.just("delete"), st.integers(0, 5), st.just({})),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(histories, max_size=14))
@pytest.mark.req("N0-42")
def test_any_steps_end_where_the_model_ends(taken: list[tuple[str, int, Any]]) -> None:
    host, model = Regulator(), Model()
    for operation, version, body in [("create", 0, A), ("update", 1, {"a": 1}), *taken]:
        allowed = model.step(operation, version, body)
        answer = host.take(reported(operation, version, body))
        assert (answer["code"] == "") is allowed, answer
        snapshot = host.get(f"{OBJECT_ID}/snapshot")
        if not model.waiting and not model.is_deleted and len(model.bodies) > 1:
            assert snapshot == model.bodies[-1]
    status = "DELETED" if model.is_deleted else "REWRITING" if model.waiting else "CURRENT"
    assert host.latest()["status"] == status
