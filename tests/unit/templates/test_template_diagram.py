"""The picture of a template's states: whole, well formed, the same everywhere, and legible."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from guqiaoctl.template_files import load_template
from services.consensus.domain.contracts.template.diagram import draw_states
from services.consensus.domain.contracts.template.form import read_template
from tests.unit.templates.common_walks import WALKS
from tests.unit.templates.template_market import FOLDER, template

SVG = "{http://www.w3.org/2000/svg}"
NAMES = sorted(WALKS)


def drawn(name: str) -> ElementTree.Element:
    return ElementTree.fromstring(draw_states(template(name)))


def boxes(picture: ElementTree.Element) -> list[tuple[int, int, int, int]]:
    found = [each for each in picture.iter(f"{SVG}rect") if each.get("rx")]
    corners = [[int(each.attrib[x]) for x in ("x", "y", "width", "height")] for each in found]
    return [(x, y, x + width, y + height) for x, y, width, height in corners]


def ways(picture: ElementTree.Element) -> list[list[tuple[int, int]]]:
    """The points of each arrow."""
    found = [each.attrib["d"] for each in picture.iter(f"{SVG}path") if each.get("marker-end")]
    return [[(int(x), int(y)) for x, y in re.findall(r"(\d+),(\d+)", way)] for way in found]


@pytest.mark.req("G2-08-5")
@pytest.mark.parametrize("name", NAMES)
def test_every_state_and_every_step_is_in_the_picture_in_both_languages(name: str) -> None:
    picture = drawn(name)
    texts = [part for each in picture.iter(f"{SVG}text") for part in (each.text or "").split("; ")]
    for state in template(name).states:
        assert state.title.zh in texts
        assert f"{state.title.en} · {state.name}" in texts
    for step in template(name).transitions:
        words = f"{step.title.zh} {step.title.en}"
        assert texts.count(words) == max(len(step.sources), 1)
    finals = [each for each in picture.iter(f"{SVG}rect") if each.get("stroke-width") == "3"]
    assert len(finals) == sum(each.is_final for each in template(name).states)


@pytest.mark.parametrize("name", NAMES)
def test_no_line_meets_a_box_but_at_its_end_and_all_is_within_the_picture(name: str) -> None:
    picture = drawn(name)
    width, height = int(picture.attrib["width"]), int(picture.attrib["height"])
    all_boxes = boxes(picture)
    assert len(all_boxes) == len(template(name).states)
    assert all(x1 <= width and y1 <= height for _, _, x1, y1 in all_boxes)
    for way in ways(picture):
        assert all(0 <= x <= width and 0 <= y <= height for x, y in way)
        for (x, y), (to_x, to_y) in pairwise(way):
            assert x == to_x or y == to_y
            for left, top, right, bottom in all_boxes:
                across = min(x, to_x) < right and max(x, to_x) > left
                along = min(y, to_y) < bottom and max(y, to_y) > top
                assert not (across and along), (way, (left, top, right, bottom))


def test_texts_are_escaped() -> None:
    value: Any = template("subject").to_json()
    value["states"][0]["title"] = {"zh": "<b>&", "en": 'a"<script>'}
    text = draw_states(read_template(value))
    assert "<script>" not in text
    assert "<b>&" in [each.text for each in ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_the_picture_is_the_same_whatever_the_hash_seed() -> None:
    path = FOLDER / "subject.yaml"
    program = (
        "import hashlib, pathlib, sys; from guqiaoctl.template_files import load_template;"
        "from services.consensus.domain.contracts.template.diagram import draw_states;"
        "text = draw_states(load_template(pathlib.Path(sys.argv[1])));"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    expected = hashlib.sha256(draw_states(load_template(path)).encode()).hexdigest()
    for seed in ("1", "2", "3"):
        told = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == expected
