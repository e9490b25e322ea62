"""Lists of the register as they are printed: csv to the byte, absent values, aligned columns."""

from __future__ import annotations

import json
from typing import Any

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiaoctl.commands.register import (
    DIVIDEND_COLUMNS,
    ENCUMBRANCE_COLUMNS,
    ROSTER_COLUMNS,
    written,
)

PLACE: dict[str, Any] = {"account": "Q000000001", "product_code": "P1", "nature": "51"}
LINE = pb.DividendRow(dividend_no="D1", shares=3, amount_fen=0, status="PAYABLE", **PLACE)
REST = pb.DividendRow(dividend_no="D1", product_code="P1", amount_fen=-1, status="ROUNDING")


def test_what_is_absent_is_empty_and_what_is_zero_is_not() -> None:
    assert written(DIVIDEND_COLUMNS, [LINE, REST], "csv") == (
        "dividend_no,product_code,account,nature,shares,amount_fen,status\n"
        "D1,P1,Q000000001,51,3,0,PAYABLE\n"
        "D1,P1,,,,-1,ROUNDING\n"
    )
    rows = json.loads(written(DIVIDEND_COLUMNS, [LINE, REST], "json"))
    assert [row["shares"] for row in rows] == [3, None]
    assert [row["amount_fen"] for row in rows] == [0, -1]
    table = written(DIVIDEND_COLUMNS, [REST], "table").splitlines()
    assert table[1].split() == ["D1", "P1", "-1", "ROUNDING"]


def test_numbers_with_commas_and_quotation_marks_are_quoted() -> None:
    row = pb.Encumbrance(
        number='鲁,"1"', kind="freeze", registered=5, waiting=5, status="WAITING", **PLACE
    )
    assert written(ENCUMBRANCE_COLUMNS, [row], "csv") == (
        "number,kind,account,product_code,nature,registered,effective,waiting,status\n"
        '"鲁,""1""",freeze,Q000000001,P1,51,5,0,5,WAITING\n'
    )


def test_a_list_without_rows_is_its_header() -> None:
    rows: list[pb.Position] = []
    assert written(ROSTER_COLUMNS, rows, "csv") == ",".join(ROSTER_COLUMNS) + "\n"
    assert json.loads(written(ROSTER_COLUMNS, rows, "json")) == []


def test_a_truth_value_is_written_in_lower_case() -> None:
    row = pb.Position(total=5, available=5, confirmed=True, **PLACE)
    line = written(ROSTER_COLUMNS, [row], "csv").splitlines()[1]
    assert line == "Q000000001,P1,51,5,5,0,0,0,true,"
