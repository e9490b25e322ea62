"""What the register's sources say of texts, dates and keys, against readings of the same elsewhere.

Importers, the recount and other contracts use the ones in Python; the sources cannot import them.
"""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guqiao_sdk.market_identifiers import is_uscc
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.register_keys import PART_LENGTH_MAX, part_of_key
from guqiao_sdk.register_rules import source_parts
from services.consensus.domain.contracts.host import OUTPUT_BYTES_MAX
from services.consensus.domain.contracts.register import program
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.frames import Run
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.values import from_json, to_json
from tests.unit.contracts.changed_rules import constant
from tests.unit.contracts.memory_host import INSTITUTION

TEXTS = st.one_of(st.text(max_size=40), st.text(alphabet="%/aZ0 .股", max_size=120))
USCC_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXYIOSVZ"


def said(function: str, *arguments: Json) -> Json:
    """What a function of the sources gives."""
    rules = program.register_program()
    host = MemoryHost({}, Surroundings(INSTITUTION, None, 1, 0, None))
    run = Run(Meter.boundless(), host, rules.module.access, None)
    given = [from_json(run.meter, argument) for argument in arguments]
    return to_json(run.meter, rules.functions[function].run(run, given))


@given(TEXTS)
@example("x" * PART_LENGTH_MAX)
@example("x" * (PART_LENGTH_MAX + 1))
@example("%" * 32)
@example("%" * 33)
@example("Q" + "1" * PART_LENGTH_MAX)
@example("")
def test_a_text_stands_in_a_key_as_readers_of_the_state_expect(text: str) -> None:
    assert said("_part", text) == part_of_key(text)


def test_the_lengths_of_parts_agree() -> None:
    assert constant("PART_LENGTH_MAX") == PART_LENGTH_MAX


@given(st.dates())
def test_days_are_counted_as_the_calendar_counts_them(day: date) -> None:
    assert said("_is_date", day.isoformat()) is True
    assert said("_days_since_1970", day.isoformat()) == (day - date(1970, 1, 1)).days


@given(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32))
def test_a_date_is_what_the_calendar_has(year: int, month: int, day: int) -> None:
    text = f"{year:04}-{month:02}-{day:02}"
    try:
        date.fromisoformat(text)
    except ValueError:
        assert said("_is_date", text) is False
    else:
        assert said("_is_date", text) is True


@pytest.mark.parametrize(
    "text",
    ["", "2025-9-01", "2025-09-1", "2025/09/01", "２０２５-09-01", "2025-09-01T", "-025-09-01"],
)
def test_other_forms_are_no_dates(text: str) -> None:
    assert said("_is_date", text) is False


@given(st.text(alphabet=USCC_LETTERS, min_size=17, max_size=19))
@example("91370199MA9900001C")
def test_a_credit_code_is_judged_as_importers_judge_it(code: str) -> None:
    for check in ("", *USCC_LETTERS):
        assert said("_is_uscc", code[:17] + check) is is_uscc(code[:17] + check)


def test_every_file_is_within_the_bounds_of_files() -> None:
    for name, data in source_parts().items():
        lines = data.decode().split("\n")
        assert len(lines) <= 501, name
        assert max(map(len, lines)) <= 100, name


def test_the_form_is_one_that_a_chain_would_take() -> None:
    module = program.register_program().module
    assert read_form(module.encoded).digest == module.digest
    assert len(module.encoded) < OUTPUT_BYTES_MAX
