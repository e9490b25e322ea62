"""Templates of format 1 say nothing of the form of arguments: what judges them instead.

The engine holds what a contract keeps and announces against the kinds of its fields, and each
contract of the common set refuses by itself what is none of its fields' values.
"""

from __future__ import annotations

import itertools
from calendar import monthrange
from collections.abc import Iterator
from typing import Final

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.template.tiers import TierMap, check_call
from services.consensus.domain.contracts.template.vocabulary import TYPES_2
from tests.unit.templates.common_walks import WALKS
from tests.unit.templates.template_market import Market, template
from tests.unit.templates.walk_steps import Step

KINDS: Final[dict[str, list[Json]]] = {
    "str": [None, True, 7, [], {}, ["A"], {"A": 1}],
    "int": [None, True, "7", [], {}, [1], -1],
    "bool": [None, 0, 1, "true", [], {}],
}
FORMS: Final[dict[str, list[Json]]] = {
    "date": [
        "",
        "2026-1-5",
        "2026-00-10",
        "2026-02-00",
        "2026-04-31",
        "0000-01-01",
        "２０２６-01-05",
    ],
    "month": ["", "2026-13", "2026-1", "2026-01-05"],
    "enum": ["", "NONE_OF_THEM"],
    "digest": ["", "5A" * 32, "5a" * 31],
    "uscc": ["", "91370199MA9900300B"],
}
"""Of the right kind, and no value of the type."""

ALL: Final = [(name, number) for name, walks in WALKS.items() for number in range(len(walks))]


def spoilt(market: Market, step: Step) -> Iterator[tuple[str, Json]]:
    """Each argument that is a field, with what is none of its values."""
    fields = market.template.fields
    for name in step.arguments:
        if name in fields:
            kind = fields[name][1].type
            for value in (*KINDS[TYPES_2[kind].kind], *FORMS.get(kind, [])):
                yield name, value


@pytest.mark.req("G2-08-6")
@pytest.mark.parametrize(("name", "number"), ALL)
def test_a_contract_of_the_common_set_refuses_what_is_no_value_of_a_field(
    name: str, number: int
) -> None:
    market = Market(name)
    tried = 0
    for step in WALKS[name][number]:
        before = dict(market.state)
        for argument, value in spoilt(market, step):
            ended = market.take(step.method, **{**step.arguments, argument: value})
            assert ended.code is not None, (step.method, argument, value)
            assert market.state == before
            tried += 1
        assert market.take(step.method, **step.arguments).code is None
    assert tried


DATED: Final = {
    "account": "opened_on",
    "dividend": "record_date",
    "listing": "since",
    "data_authorisation": "valid_until",
}


@pytest.mark.req("G2-08-6")
@pytest.mark.parametrize(("name", "field"), DATED.items())
def test_a_contract_of_the_common_set_takes_the_days_that_the_calendar_has(
    name: str, field: str
) -> None:
    walk = WALKS[name][0]
    at = next(place for place, step in enumerate(walk) if field in step.arguments)
    market = Market(name)
    for step in walk[:at]:
        assert market.take(step.method, **step.arguments).code is None
    before = dict(market.state)
    for year, month in itertools.product((1900, 2000, 2026, 2028, 9999), range(1, 13)):
        last = monthrange(year, month)[1]
        for day in (1, last, last + 1):
            market.state = dict(before)
            told = {**walk[at].arguments, field: f"{year:04}-{month:02}-{day:02}"}
            malformed = market.take(walk[at].method, **told).code == "BODY_MALFORMED"
            assert malformed is (day > last), told


def test_the_engine_judges_kinds_when_a_contract_keeps_them_and_no_more_under_format_1() -> None:
    tiers = TierMap.of(template("subject"))
    record: dict[str, Json] = {
        "subject_id": "S1", "kind": "NONE_OF_THEM", "uscc": "1", "registered_name": "甲",
        "scale": "SMALL", "region": "370102", "state": "REGISTERED",
    }  # fmt: skip
    check_call(tiers.shapes, record | {"region": 7})
    tiers.check_write("subject/S1", record)
    with pytest.raises(ContractError) as refused:
        tiers.check_write("subject/S1", record | {"region": 7})
    assert (refused.value.code, refused.value.fields["why"]) == (
        "TIER_PUBLIC_NOT_ONCHAIN",
        "type",
    )
