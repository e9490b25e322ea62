"""YAML has one reading here, and what could have another is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiaoctl import strict_yaml
from guqiaoctl.strict_yaml import YamlError, read_yaml

GOOD = b"""# A comment.
a: {zh: "\xe8\x82\xa1", en: share}
b:
  - 7
  - -3
  - true
  - "true"
  - 'no'
  - >-
    folded
    text
c: []
"""


def test_mappings_lists_texts_numbers_and_truths_are_read_with_their_lines() -> None:
    value, lines = read_yaml(GOOD)
    assert value == {
        "a": {"zh": "股", "en": "share"},
        "b": [7, -3, True, "true", "no", "folded text"],
        "c": [],
    }
    places = {("a",): 2, ("a", "en"): 2, ("b",): 3, ("b", 1): 5, ("b", 5): 9, ("c",): 12}
    assert {place: lines[place] for place in places} == places


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "yaml_twice", 3),
        ("a: {x: 1, x: 1}\n", "yaml_twice", 1),
        ("a: &x 1\n", "yaml_anchor", 1),
        ("a: &x [1]\nb: *x\n", "yaml_anchor", 1),
        ("a: 1\nb: *x\n", "yaml_anchor", 2),
        ("&x a: 1\n", "yaml_anchor", 1),
        ("a: 1\n<<: {b: 2}\n", "yaml_anchor", 2),
        ("a: !!str 1\n", "yaml_tag", 1),
        ("a: !!python/object:os.system {}\n", "yaml_tag", 1),
        ("--- !t\na: 1\n", "yaml_tag", 1),
        ("%YAML 1.1\n---\na: 1\n", "yaml_tag", 1),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "yaml_tag", 1),
        ("a: 1\n---\nb: 2\n", "yaml_documents", 2),
        ("", "yaml_documents", 1),
        ("a:\n", "yaml_value", 1),
        ("a: null\n", "yaml_value", 1),
        ("a: ~\n", "yaml_value", 1),
        ("a: yes\n", "yaml_value", 1),
        ("a: 1.5\n", "yaml_value", 1),
        ("a: 010\n", "yaml_value", 1),
        ("a: 0x10\n", "yaml_value", 1),
        ("a: 1_000\n", "yaml_value", 1),
        ("a: 1:30\n", "yaml_value", 1),
        ("a: 2026-01-05\n", "yaml_value", 1),
        ("a: 9223372036854775808\n", "yaml_value", 1),
        ("a: =\n", "yaml_value", 1),
        ("1: a\n", "yaml_value", 1),
        ("[a]: b\n", "yaml_value", 1),
        ("a: [1\nb: 2\n", "yaml", 2),
        ("a: b: c\n", "yaml", 1),
        ("a: 1\n\tb: 2\n", "yaml", 2),
        ("a: 1\nb: \x01\n", "yaml", 2),
        (f"a: {'[' * 13}{']' * 13}\n", "large", 1),
        (f"a: [{'1,' * 20_000}]\n", "large", 1),
        (f"a: '{'x' * strict_yaml.BYTES_MAX}'\n", "large", 1),
    ],
)
def test_what_could_be_read_in_another_way_is_refused_with_its_line(
    text: str, rule: str, line: int
) -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(text.encode())
    assert (refused.value.fault.rule, refused.value.line) == (rule, line)


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(b"a: 1\nb: \xff\n")
    assert (refused.value.fault.rule, refused.value.line) == ("yaml", 2)


@given(st.text(st.sampled_from("ab:{}[],-&*!|>'\"# \n%~<=1?\u2028\x85"), max_size=60))
def test_any_text_gives_a_value_with_a_line_for_its_root_or_a_refusal(text: str) -> None:
    line = 0
    try:
        _, lines = read_yaml(text.encode())
    except YamlError as refused:
        line = refused.line
    else:
        line = lines[()]
    assert 1 <= line <= len(text) + 1
