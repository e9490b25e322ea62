"""Whatever was registered, its package holds; whatever a cell says, it is written one way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.register_papers.export import TABLES, verify_export
from guqiao_sdk.register_papers.tables import FORMULA_STARTS, RECONCILIATION, Control
from tests.unit.register_papers.paper_case import (
    ACCOUNTS,
    KEYS,
    Call,
    Files,
    Register,
    freeze,
    pledge,
    release,
    transfer,
)

pytestmark = pytest.mark.req("N0-08")
shares = st.integers(1, 600)
accounts = st.sampled_from(ACCOUNTS)
numbers = st.sampled_from(["1", "2", "=3", "四"])
calls = st.one_of(
    st.builds(transfer, accounts, accounts, shares),
    st.builds(pledge, numbers, accounts, shares),
    st.builds(release, numbers, shares),
    st.builds(freeze, numbers, accounts, shares),
)


@settings(max_examples=25, deadline=None)
@given(first=st.integers(1, 999), done=st.lists(calls, max_size=12), place=st.data())
def test_a_generated_register_is_exported_and_every_changed_cell_is_refused(
    first: int, done: list[Call], place: st.DataObject
) -> None:
    register = Register()
    register.open_with(first, 1_000 - first)
    for call in done:
        register.run(call)  # What the rules refuse leaves the register as it was.
    files = register.export()
    trust = register.trust()
    verdict = verify_export(files, trust, KEYS.verify)
    assert sum(row.total for row in verdict.register.holders) == 1_000

    name = place.draw(st.sampled_from(TABLES))
    changed = _with_another_byte(files, name, place)
    with pytest.raises(ProofError, match=rf"file {name}"):
        verify_export(changed, trust, KEYS.verify)
    if name != "history.csv":
        with pytest.raises(ProofError):
            verify_export(register.signed_again(changed), trust, KEYS.verify)


def _with_another_byte(files: Files, name: str, place: st.DataObject) -> Files:
    data = bytearray(files[name])
    data[place.draw(st.integers(0, len(data) - 1))] ^= place.draw(st.integers(1, 255))
    return {**files, name: bytes(data)}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
guarded = st.builds(lambda start, rest: start + rest, st.sampled_from(FORMULA_STARTS), texts)


@given(st.lists(st.tuples(texts | guarded, texts | guarded, st.integers(0, 1 << 50)), max_size=6))
def test_text_comes_back_as_it_was_and_no_cell_is_a_formula(
    values: list[tuple[str, str, int]],
) -> None:
    rows = {each[:2]: Control(*each) for each in values}
    data = RECONCILIATION.write(rows.values())
    assert RECONCILIATION.read(data) == tuple(rows[key] for key in sorted(rows))
    for row in RECONCILIATION._lines(data):
        assert not any(cell.startswith(FORMULA_STARTS[:-1]) for cell in row)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfcontrol,nature,value\n",
        b"control,nature,value\r\n",
        b'control,nature,value\n"a",,1\n',
        b"control,nature,value\na,,01\n",
        b"control,nature,value\na,,-1\n",
        b"control,nature,value\n=a,,1\n",
        b"control,nature,value\na,,1",
        b"control,nature,value\na,1\n",
        b"control,nature,value\na,,1\na,,1\n",
        b"control,value,nature\n",
        b"\xff\n",
        b'control,nature,value\n"a,,1\n',
        b"",
    ],
)
def test_a_table_has_one_form(data: bytes) -> None:
    with pytest.raises(ProofError, match=r"table reconciliation\.csv"):
        RECONCILIATION.read(data)
