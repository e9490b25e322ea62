"""Every field of every object is listed, and nothing is listed that no overlay has."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from deploy.check_manifests import overlays_of
from deploy.checker.closed_world import BODIES, Shape, unknown_fields
from deploy.checker.loader import Manifest, Renderer
from tests.deploy.deploy_tree import DEPLOY

STRANGE = "aFieldOfTomorrow"


@cache
def rendered() -> list[Manifest]:
    """The objects of all overlays."""
    return [each for overlay in overlays_of(DEPLOY) for each in Renderer().render(overlay)]


def mappings(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping of an object, with its path."""
    if isinstance(value, list):
        for each in value:
            yield from mappings(each, path)
    elif isinstance(value, dict):
        yield path, value
        for name, inner in value.items():
            yield from mappings(inner, f"{path}{name}.")


def listed(shape: Shape) -> Iterator[str]:
    """The names of a shape's fields."""
    for name, inner in shape.items():
        yield name
        yield from listed(inner)


@pytest.mark.req("G2-15-3")
def test_an_unknown_field_is_named_wherever_it_stands() -> None:
    paths = set()
    for manifest in rendered():
        spoilt = copy.deepcopy(manifest)
        places = list(mappings(spoilt.body))
        for _, mapping in places:
            mapping[STRANGE] = "set"
        found = {each.text for each in unknown_fields([spoilt])}
        assert found == {f"no rule covers {path}{STRANGE}: write it first" for path, _ in places}
        paths |= {f"{manifest.kind} {path}" for path, _ in places}
    assert len(paths) > 100


def test_the_listed_fields_are_those_that_some_overlay_has() -> None:
    kinds = {manifest.kind for manifest in rendered()}
    used = {
        name
        for manifest in rendered()
        for _, mapping in mappings(manifest.body)
        for name in mapping
    }
    assert set(BODIES) == kinds
    assert {*listed(BODIES)} - kinds | {"apiVersion", "kind"} == used
