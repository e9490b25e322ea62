"""What gas pays for: work that grows costs more, by the table that the chain has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.star_chain import on_chain
from bench.star_operations import ON_THE_LEDGER, OPERATIONS, source_of
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.execution import execute
from services.consensus.domain.contracts.star.gas import FIRST_TABLE, GasTable, Meter
from services.consensus.domain.contracts.star.names import BUILTINS, METHODS
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.star.values import StarDict
from tests.unit.star.harness import Contract, host

PRESENT = GasTable()


def used(setting: str, expression: str, table: GasTable = PRESENT) -> int:
    """Gas of an expression, without that of what stands before it."""

    def spent(last: str) -> int:
        source = 'ACCESS = {"read": [], "write": [], "call": ["other.one"]}\n\n'
        source += f"def f():\n    {setting}\n    {last}\n    return None\n"
        made = Contract(Program(compile_source(source.encode()), table))
        meter = Meter(made.gas, table)
        outcome = host().run(made.program, meter, "f", {})
        assert outcome.code is None, outcome
        return meter.used

    return spent(f"x = {expression}") - spent("x = 1")


def grown(setting: str, expression: str, table: GasTable = PRESENT) -> int:
    """How much more the gas is for n = 4,096 than for n = 1,024."""
    small, large = (
        used(f"n = {count}\n    {setting}", expression, table) for count in (1024, 4096)
    )
    return large - small


SEARCHES = ["h.find(p)", "h.count(p)", "p in h", "h.split(p)", "h.replace(p, p)"]


@pytest.mark.parametrize("expression", [*SEARCHES, '(h + "b").index(p + "b")'])
def test_a_search_costs_what_both_texts_are_multiplied(expression: str) -> None:
    """Sixteen times as much for two texts that are four times as long."""
    setting = 'h = "a" * (2 * n)\n    p = "a" * (n - 2) + "ba"'
    if "index" in expression:
        setting = 'h = "a" * (2 * n)\n    p = "a" * (n - 2)'
    pairs = [2 * count * count // 1024 for count in (1024, 4096)]
    assert grown(setting, expression) >= pairs[1] - pairs[0]
    assert grown(setting, expression, FIRST_TABLE) < pairs[1] // 8


@pytest.mark.parametrize("expression", SEARCHES)
def test_a_search_for_a_short_text_costs_hardly_more_than_before(expression: str) -> None:
    setting = 'h = "abcde" * 20\n    p = "ea"'
    assert used(setting, expression) - used(setting, expression, FIRST_TABLE) <= 1


@pytest.mark.parametrize(
    ("setting", "expression", "least"),
    [
        ('s = " " * n', "s.strip()", 96),
        ('s = " " * n', "s.lstrip()", 96),
        ('s = " " * n', "s.rstrip()", 96),
        ('s = [""] * n', '"".join(s)', 3072),
        ('k = "k" * n\n    d = {}', "k in d", 96),
        ('k = "k" * n\n    d = {k: 1}', "d[k]", 96),
        ('k = "k" * n\n    d = {k: 1}', "d.get(k)", 96),
        ('k = "k" * n\n    d = {k: 1}', "d.setdefault(k, 2)", 96),
        ('k = "k" * n\n    d = {k: 1}', "d.pop(k)", 96),
        ('k = "k" * n\n    d = {}', "{k: 1}", 96),
        ('k = "k" * n\n    d = {k: 1}\n    e = {k: 1}', "d == e", 96),
        ('k = "k" * n\n    d = {k: 1}\n    e = {}', "e.update(d)", 96),
        ('k = "k" * n\n    d = {k: 1}', "dict(d)", 96),
        ('k = "k" * n\n    d = {k: 1}', 'call("other", "one", a=d)', 192),
        ("d = {i: 1 for i in range(n)}", "-1 in d", 24),
        ("d = {i: 1 for i in range(n)}", "d.get(-1)", 24),
        ("d = {i: 1 for i in range(n)}", "d[0]", 24),
    ],
)
def test_what_grows_with_a_text_a_key_or_a_dict_is_paid_by_the_present_table(
    setting: str, expression: str, least: int
) -> None:
    assert grown(setting, expression) >= least
    assert grown(setting, expression) > grown(setting, expression, FIRST_TABLE)


@pytest.mark.parametrize(
    ("setting", "expression"),
    [
        ("a = [0] * n", "a[0:1]"),
        ("a = [0] * n", "a * 0"),
        ('d = {str(i): 1 for i in range(n)}\n    k = "k"', "k in d"),
    ],
)
def test_what_does_not_grow_costs_the_same(setting: str, expression: str) -> None:
    assert grown(setting, expression) == 0


def test_a_function_with_many_names_costs_more_to_call() -> None:
    def call(names: int, table: GasTable) -> int:
        unpacked = ", ".join(f"n{number}" for number in range(names))
        source = f"def g():\n    if True:\n        return 1\n    [{unpacked}] = []\n"
        program = Program(compile_source(f"{source}\ndef f():\n    g()\n".encode()), table)
        meter = Meter(10_000, table)
        assert host().run(program, meter, "f", {}).code is None
        return meter.used

    assert call(6_400, PRESENT) - call(640, PRESENT) == 90
    assert call(6_400, FIRST_TABLE) == call(640, FIRST_TABLE)


def test_a_call_of_another_contract_pays_for_its_record() -> None:
    expression = 'call("other", "one", a=1)'
    assert used("n = 1", expression) == used("n = 1", expression, FIRST_TABLE) + PRESENT.read


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=400))
def test_entries_that_were_taken_leave_no_more_holes_than_there_are_entries(
    steps: list[tuple[bool, int]],
) -> None:
    ours = StarDict()
    plain: dict[int, int] = {}
    for is_taken, key in steps * 3:
        if is_taken and key in plain:
            assert ours.take(key) == plain.pop(key)
        else:
            ours[key] = plain[key] = key
        assert list(ours.items()) == list(plain.items())
    hollow = StarDict((number, None) for number in range(5_000))
    for number in range(4_999):
        hollow.take(number)
    assert hollow.__sizeof__() < StarDict((n, None) for n in range(200)).__sizeof__()


@settings(max_examples=200)
@given(st.text() | st.text("aZ\xe9\xc9\u017f\u212a\u0130\ud800\U0001f600"))
def test_letters_are_the_ascii_ones_in_every_text(text: str) -> None:
    low = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
    high = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
    source = b"def f(s):\n    return [s.lower(), s.upper()]\n"
    made = Contract(Program(compile_source(source), PRESENT))
    assert made.call("f", s=text) == [text.translate(low), text.translate(high)]


@pytest.mark.parametrize("table", [PRESENT, FIRST_TABLE], ids=["present", "first"])
def test_a_table_is_read_as_it_was_written(table: GasTable) -> None:
    prices = table.to_json()
    assert GasTable.from_json(prices) == table
    assert len(prices) == (9 if table.is_first else 12)
    for name in ("search", "key", "name"):
        some: dict[str, int] = {**FIRST_TABLE.to_json(), name: 1}
        with pytest.raises(ValueError, match="star/1"):
            GasTable.from_json(some)
        with pytest.raises(ValueError, match="whole number"):
            GasTable.from_json({**PRESENT.to_json(), name: 0})


def test_the_bench_of_gas_has_every_operation_of_the_language() -> None:
    """Those that it does not try are given with the reason."""
    whole = "\n".join(source_of(name) for name in OPERATIONS)
    left_out = {
        **dict.fromkeys(("bool", "len", "type", "abs", "range", "reversed"), "a step, or a copy"),
        **dict.fromkeys(("checker", "block_time", "business_time"), "as sender and height"),
        **dict.fromkeys(("all", "values", "endswith", "rstrip", "extend"), "as any, keys, += ..."),
        **dict.fromkeys(("index", "remove"), "as find and in"),
    }
    for name in BUILTINS:
        assert f"{name}(" in whole or name in left_out, name
    for name in METHODS:
        assert f".{name}(" in whole or name in left_out, name


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_operation_of_the_bench_runs(name: str) -> None:
    table = GasTable()
    program = Program(compile_source(source_of(name).encode()), table)
    spent: list[Json] = []
    for rounds in (0, 1):
        meter = Meter(3_000_000, table, allocated_max=1 << 40)
        on_ledger = name.startswith(ON_THE_LEDGER)
        behind = on_chain(program.module, meter) if on_ledger else host()
        outcome = execute(program, behind, meter, "go", {"rounds": rounds})
        assert outcome.code in ((None,) if rounds == 0 else (None, "CONTRACT_OUT_OF_GAS"))
        spent.append(meter.used)
    assert spent[0] != spent[1]
