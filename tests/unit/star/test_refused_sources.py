"""What star/1 refuses, each with its place and a sentence (design section 6)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.check import check
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.refusals import SENTENCES
from services.consensus.domain.contracts.star.syntax import (
    compile_source,
    compile_tree,
    parse_source,
)
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX

REFUSED = [
    ("float", "def f():\n    return 1.5\n", 2, 12),
    ("float", "def f():\n    return 1e3\n", 2, 12),
    ("float", "def f():\n    return .5\n", 2, 12),
    ("division", "def f(a):\n    return a / 2\n", 2, 12),
    ("operator", "def f(a):\n    return a ** 2\n", 2, 12),
    ("operator", "def f(a):\n    return a is None\n", 2, 12),
    ("operator", "def f(a):\n    return ~a\n", 2, 12),
    ("attribute", "def f(a):\n    return a.__class__\n", 2, 12),
    ("attribute", "def f(a):\n    return a.format(1)\n", 2, 12),
    ("import", "import os\n", 1, 1),
    ("import", "def f():\n    import os\n", 2, 5),
    ("while", "def f():\n    while True:\n        pass\n", 2, 5),
    ("recursion", "def f(a):\n    return f(a)\n", 2, 12),
    ("recursion", "def f(a):\n    return g(a)\n\ndef g(a):\n    return f(a)\n", 5, 12),
    ("nested_function", "def f():\n    def g():\n        return 1\n    return 1\n", 2, 5),
    ("lambda", "def f(a):\n    return sorted([1], key=lambda x: x + a)\n", 2, 28),
    ("lambda", "def f():\n    g = lambda x: x\n    return 1\n", 2, 9),
    ("default_argument", "def f(a=[]):\n    return a\n", 1, 9),
    ("default_argument", "def f(a={}):\n    return a\n", 1, 9),
    ("comprehension", "def f(x):\n    return [1 for a in x for b in x for c in x]\n", 2, 12),
    ("tuple", "def f():\n    return 1, 2\n", 2, 12),
    ("expression", "def f():\n    return {1, 2}\n", 2, 12),
    ("string", 'def f(a):\n    return f"{a}"\n', 2, 13),
    ("string", 'def f():\n    return b"a"\n', 2, 13),
    ("statement", "def f():\n    try:\n        pass\n    except:\n        pass\n", 2, 5),
    ("statement", "class A:\n    pass\n", 1, 1),
    ("statement", "def f():\n    a = 1; b = 2\n", 2, 10),
    ("statement", "def f(x):\n    for a in x:\n        pass\n    else:\n        pass\n", 2, 5),
    ("chained_comparison", "def f(a):\n    return 1 < a < 3\n", 2, 12),
    ("name", "def f():\n    return unknown\n", 2, 12),
    ("name", "def f(x):\n    y = [a for a in x]\n    return a\n", 3, 12),
    ("name_reserved", "def f():\n    len = 1\n    return len\n", 2, 5),
    ("name_reserved", "A = 1\n\ndef f():\n    A = 2\n", 4, 5),
    ("duplicate", "def f():\n    return 1\n\ndef f():\n    return 2\n", 4, 1),
    ("argument", "def f():\n    return len()\n", 2, 12),
    ("argument", "def f():\n    return len([], [])\n", 2, 12),
    ("argument", "def g(a):\n    return a\n\ndef f():\n    return g(b=1)\n", 5, 12),
    ("range", "def f():\n    return range(3)\n", 2, 12),
    ("range", "def f():\n    return 1 in range(3)\n", 2, 17),
    ("break", "def f():\n    break\n", 2, 5),
    ("constant", "A = len([])\n", 1, 5),
    ("constant", "print(1)\n", 1, 1),
    ("assignment", "def f(a):\n    a = b = 1\n", 2, 5),
    ("assignment", "def f(a):\n    a[1:2] = [1]\n", 2, 5),
    ("star_argument", "def f(*a):\n    return a\n", 1, 8),
    ("star_argument", "def f(a):\n    return max(*a)\n", 2, 16),
    ("call", "def f(a):\n    return a[0]()\n", 2, 12),
    ("character", "def f():\n    аbc = 1\n", 2, 5),
    ("bidirectional", 'def f():\n    return "a\u202eb"\n', 2, 14),
    ("bidirectional", "def f():\n    return 1 # \u2066\n", 2, 16),
    ("bidirectional", 'def f():\n    return "a\u200bb"\n', 2, 14),
    ("control_character", "def f():\n    return 1\x00\n", 2, 13),
    ("control_character", "def f():\n\treturn 1\n", 2, 1),
    ("control_character", "def f():\r\n    return 1\n", 1, 9),
    ("integer", f"def f():\n    return {'9' * 78}\n", 2, 12),
    ("integer", f"def f():\n    return {(1 << 255)}\n", 2, 12),
    ("syntax", "def f(:\n", 1, 7),
    ("syntax", 'def f():\n    return "a\n', 2, 12),
    ("syntax", "def f():\n    return 0b1\n", 2, 12),
    ("syntax", "def f():\n    return 1 + \\\n        2\n", 2, 16),
    ("deep", "def f():\n    return " + "(" * 30 + "1" + ")" * 30 + "\n", 2, 36),
    ("deep", "def f(a):\n    return " + "not " * 12 + "a\n", 2, 47),
    ("deep", "def f(a):\n    return " + " + ".join("a" * 40) + "\n", 2, 12),
    ("access", 'ACCESS = {"read": ["a/"]}\n\ndef f():\n    return 1\n', 1, 10),
    ("access", 'ACCESS = {"read": [""], "write": []}\n\ndef f():\n    return 1\n', 1, 10),
    ("key_twice", 'A = {"a": 1, "b": 2, "a": 3}\n', 1, 22),
    ("key_twice", "A = [{0: 1, -0: 2}]\n", 1, 13),
    ("escape", 'def f():\n    return "a\\q"\n', 2, 14),
    ("escape", 'def f():\n    return "\\N{DIGIT ONE}"\n', 2, 13),
    ("escape", 'def f():\n    return "\\x80"\n', 2, 13),
    ("escape", 'def f():\n    return "\\200"\n', 2, 13),
    ("escape", 'def f():\n    return "\\u12"\n', 2, 13),
    ("concatenation", 'def f():\n    return "a" "b"\n', 2, 16),
    ("concatenation", 'def f():\n    return ["a" # c\n        "b"]\n', 3, 9),
    *(
        ("bidirectional", f'def f():\n    return "股{unseen}"\n', 2, 14)
        for unseen in "\u034f\u115f\u17b4\u180b\u2800\u3164\ufe0f\uffa0\U000e0100"
    ),
    ("look_alike", 'def f(kind):\n    return kind == "NOT\u0410CE"\n', 2, 21),
    ("look_alike", "def f():\n    return 1 # 股份 \u03bfption\n", 2, 19),
    ("division", 'def f(a):\n    return ["股份", a / 2]\n', 2, 19),
]


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(("rule", "source", "line", "column"), REFUSED)
def test_what_the_subset_leaves_out_is_refused_at_its_place(
    rule: str, source: str, line: int, column: int
) -> None:
    with pytest.raises(SourceError) as caught:
        compile_source(source.encode())
    assert (caught.value.rule, caught.value.line, caught.value.column) == (rule, line, column)


def test_each_rule_has_a_sentence_in_both_languages_and_a_source_that_breaks_it() -> None:
    elsewhere = {"engine", "form", "large", "utf8"}
    assert {rule for rule, *_ in REFUSED} | elsewhere == set(SENTENCES)
    for zh, en in SENTENCES.values():
        assert any("\u4e00" <= letter <= "\u9fff" for letter in zh)
        assert en.isascii()


def test_a_source_that_is_too_large_or_not_text_is_refused() -> None:
    for source, rule in ((b" " * (SOURCE_BYTES_MAX + 1), "large"), (b"\xff\n", "utf8")):
        with pytest.raises(SourceError) as caught:
            compile_source(source)
        assert caught.value.rule == rule
    long_chain = "def f0(a):\n    return a\n\n" + "".join(
        f"def f{n}(a):\n    return f{n - 1}(a)\n\n" for n in range(1, 40)
    )
    with pytest.raises(SourceError, match="deep"):
        compile_source(long_chain.encode())


WHOLE = '''
ACCESS = {"read": ["a/"], "write": ["a/b/"]}
RATES = [1, 2, -3]

def total(values, start=0):
    """Adds."""
    for place, value in enumerate(values):
        if value in RATES and place > 0:
            start += value * RATES[0]
        elif not value:
            continue
        else:
            break
    found = {str(x): [y for y in values if y != x] for x in values[1:]}
    return sorted(found.keys(), key=lambda k: k, reverse=True) if found else start
'''


def test_the_canonical_form_is_one_byte_string_and_reads_back() -> None:
    module = compile_source(WHOLE.encode())
    again = check(json.loads(module.encoded))
    assert again.encoded == module.encoded
    assert again.digest == module.digest
    spaced = WHOLE.replace(", ", ",  ").replace("  # no", "")
    assert compile_source(spaced.encode()).digest == module.digest, "spaces are not the contract"
    assert compile_source(WHOLE.replace("place > 0", "place > 1").encode()).digest != module.digest


@pytest.mark.parametrize("symbol", [{}, [], None, 1, True, "**", ""], ids=repr)
@pytest.mark.parametrize("kind", ["augment", "binary", "compare"])
def test_what_is_no_operator_is_refused_whatever_it_is(kind: str, symbol: Json) -> None:
    one: Json = ["int", 1, "1"]
    value: Json = ["do", 1, [kind, 1, symbol, one, one]]
    if kind == "augment":
        value = ["augment", 1, symbol, ["name", 1, "a"], one]
    form: Json = {
        "engine": "star/1",
        "constants": [],
        "functions": [["function", 1, "f", [["parameter", 1, "a", []]], [value]]],
    }
    with pytest.raises(SourceError, match="operator"):
        check(form)


@settings(max_examples=400)
@given(st.data())
def test_a_form_that_was_changed_anywhere_is_refused_or_still_one_of_star_1(
    data: st.DataObject,
) -> None:
    form = json.loads(compile_source(WHOLE.encode()).encoded)
    place = form
    path: list[object] = []
    while isinstance(place, list | dict) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        path.append(key)
        if not isinstance(place[key], list | dict) or data.draw(st.booleans()):
            place[key] = data.draw(
                st.sampled_from(
                    [None, 0, -1, True, "x", "range", "lambda", [], {}, ["name", 1, "q"]]
                )
                | st.just(place[key] if not isinstance(place[key], list) else place[key] * 2)
            )
            break
        place = place[key]
    refused, module = _refused(lambda: check(form))
    if module is None:
        assert refused in SENTENCES
    else:
        assert check(module.form).digest == module.digest


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.text(alphabet="def f(a):\n return[]{}'\"\\#+-*/<>=!.,0x1 lambdaforifn", max_size=200).map(
        str.encode
    )
)
def test_any_bytes_are_a_contract_or_a_refusal(source: bytes) -> None:
    refused, module = _refused(lambda: compile_source(source))
    assert module is not None or refused in SENTENCES


def _refused(make: Callable[[], Module]) -> tuple[str, Module | None]:
    """The rule that refuses it, or the module."""
    try:
        return "", make()
    except SourceError as error:
        return error.rule, None


def test_parameters_of_types_are_refused_by_every_python() -> None:
    """`def f[T](a)`: Python 3.11 does not parse it, later ones do."""
    with pytest.raises(SourceError) as caught:
        compile_source(b"def f[T](a):\n    return a\n")
    assert (caught.value.rule, caught.value.line) == ("syntax", 1)
    tree = parse_source(b"def f(a):\n    return a\n")
    vars(tree.body[0])["type_params"] = [object()]
    with pytest.raises(SourceError) as caught:
        compile_tree(tree)
    assert (caught.value.rule, caught.value.line) == ("syntax", 1)
