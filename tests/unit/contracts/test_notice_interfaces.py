"""What two descriptions of an interface differ in, and whether it breaks; and their one form."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.interface import (
    FIELDS_MAX,
    INTERFACE_BYTES_MAX,
    TYPES,
    Change,
    changes,
    read_interface,
)
from tests.unit.contracts.notice_market import BREAKING, COMPATIBLE, OLD, interface

PART = "object.subject"


def between(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[Change]:
    return changes(read_interface(old or OLD), read_interface(new))


def fields(value: dict[str, Any]) -> Any:
    return value["parts"][PART]["fields"]


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    ("name", "described", "place", "rule", "is_breaking"),
    [
        ("subject_layer", None, "subject_layer", "removed", True),
        (
            "subject_company_name",
            {"type": "integer", "required": True},
            "subject_company_name.type",
            "changed",
            True,
        ),
        ("subject_tax", {"type": "text", "required": True}, "subject_tax", "required_added", True),
        (
            "subject_company_name",
            {"type": "text", "required": False},
            "subject_company_name.required",
            "changed",
            True,
        ),
        (
            "subject_document_information[].code",
            {"type": "text", "required": True},
            "subject_document_information[].code.required",
            "changed",
            True,
        ),
        (
            "subject_layer",
            {"type": "text", "required": True, "values": ["F"]},
            "subject_layer.values.G",
            "removed",
            True,
        ),
        (
            "subject_layer",
            {"type": "text", "required": True, "values": ["F", "G", "T"]},
            "subject_layer.values.T",
            "new_value",
            True,
        ),
        (
            "subject_layer",
            {"type": "text", "required": True},
            "subject_layer.values",
            "changed",
            True,
        ),
        ("subject_note", {"type": "text", "required": False}, "subject_note", "added", False),
    ],
)
def test_each_difference_is_named_and_told_whether_it_breaks(
    name: str, described: Any, place: str, rule: str, is_breaking: bool
) -> None:
    found = between(interface(**{name: described}))
    assert found == [Change(f"{PART}.{place}", rule, is_breaking)]


@pytest.mark.req("G2-14-4")
def test_a_part_that_is_gone_breaks_and_a_new_one_does_not() -> None:
    rest = {**OLD, "parts": {PART: OLD["parts"][PART]}}
    assert between(rest) == [Change("rpc.block", "removed", True)]
    assert between(OLD, rest) == [Change("rpc.block", "added", False)]


def test_the_version_alone_is_no_difference_and_what_breaks_comes_first() -> None:
    assert between(interface("guqiao-9")) == []
    both = interface(subject_layer=None, a_note={"type": "text", "required": False})
    assert [each.is_breaking for each in between(both)] == [True, False]


FIELD = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "required": st.booleans()},
    optional={
        "values": st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(sorted),
    },
)
INTERFACE = st.dictionaries(
    st.sampled_from(["object.a", "rpc.b", "contract.c"]),
    st.fixed_dictionaries({"fields": st.dictionaries(st.sampled_from("xyz"), FIELD)}),
    min_size=1,
).map(lambda parts: {"format": "guqiao-interface/1", "model_version": "1", "parts": parts})


@given(INTERFACE, INTERFACE)
def test_what_differs_is_found_in_both_directions_and_nothing_else(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    there, back = between(new, old), between(old, new)
    assert bool(there) == bool(back) == (old != new)
    assert read_interface(old).to_json() == old
    assert (read_interface(old).digest == read_interface(new).digest) == (old == new)
    for change in there:
        place = change.place.split(".")[0:2]
        assert ".".join(place) in old["parts"] | new["parts"]


@pytest.mark.req("G2-14-4")
@given(INTERFACE, INTERFACE)
def test_who_reads_the_old_interface_can_read_what_is_told_to_be_compatible(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    """Written down apart from the comparison: what the old one promises, the new one keeps."""
    keeps = all(
        name in new["parts"]
        and all(new["parts"][name]["fields"].get(field) == each for field, each in part.items())
        for name, part in ((name, part["fields"]) for name, part in old["parts"].items())
    )
    asks_more = any(
        each["required"]
        for name, part in new["parts"].items()
        if name in old["parts"]
        for field, each in part["fields"].items()
        if field not in old["parts"][name]["fields"]
    )
    is_compatible = not any(each.is_breaking for each in between(new, old))
    assert is_compatible == (keeps and not asks_more)


def spoiled(path: str, to: Any) -> dict[str, Any]:
    value = copy.deepcopy(OLD)
    here: Any = value
    *way, last = path.split("/")
    for name in way:
        here = here[name]
    if to is KeyError:
        del here[last]
    else:
        here[last] = to
    return value


NAME = f"parts/{PART}/fields/subject_company_name"


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("format", "guqiao-interface/2"),
        ("format", KeyError),
        ("model_version", ""),
        ("model_version", "v" * 33),
        ("model_version", "guqiao 1"),
        ("model_version", 1),
        ("more", 1),
        ("parts", {}),
        ("parts", []),
        ("parts/subject", {"fields": {}}),
        ("parts/object.Subject", {"fields": {}}),
        (f"parts/{PART}", []),
        (f"parts/{PART}/fields", []),
        (f"parts/{PART}/more", 1),
        (f"parts/{PART}/fields/a..b", {"type": "text", "required": True}),
        (f"parts/{PART}/fields/{'a' * 65}", {"type": "text", "required": True}),
        (NAME, []),
        (f"{NAME}/type", "float"),
        (f"{NAME}/type", KeyError),
        (f"{NAME}/required", 1),
        (f"{NAME}/values", []),
        (f"{NAME}/values", ["b", "a"]),
        (f"{NAME}/values", ["a", "a"]),
        (f"{NAME}/values", ["a" * 65]),
        (f"{NAME}/values", [1]),
        (f"{NAME}/more", 1),
    ],
)
def test_a_description_of_another_form_is_refused(path: str, to: Any) -> None:
    with pytest.raises(Refusal) as caught:
        read_interface(spoiled(path, to))
    assert caught.value.code == "BODY_MALFORMED"


def test_descriptions_are_bounded() -> None:
    field = {"type": "text", "required": True}
    many = {f"f{number}": field for number in range(FIELDS_MAX + 1)}
    long = {f"{'f' * 60}{number}": field for number in range(FIELDS_MAX)}
    parts = {f"object.p{number}": {"fields": long} for number in range(3)}
    large = {**OLD, "parts": parts}
    assert len(str(large)) > INTERFACE_BYTES_MAX
    for value in ({**OLD, "parts": {PART: {"fields": many}}}, large):
        with pytest.raises(Refusal):
            read_interface(value)


def test_the_samples_are_what_their_names_say() -> None:
    assert not any(each.is_breaking for each in between(COMPATIBLE))
    assert any(each.is_breaking for each in between(BREAKING))
