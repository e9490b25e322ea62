"""The tables of an export package, and their one form as CSV.

UTF-8 without BOM, comma, LF, a header line, quotes only where needed (RFC 4180). Text that a
spreadsheet would take for a formula stands behind an apostrophe, as does text that begins with
one, so that every text has one form and comes back as it was. A table that is not written exactly
so is refused: one content is one file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final, Generic, TypeVar

from guqiao_sdk.proof.errors import ProofError

GUARD: Final = "'"
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", GUARD)
ROWS_MAX: Final = 2_000_000
_QUOTED: Final = re.compile(r'[",\r\n]')
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares of an account in one share nature; `restricted_until` is the last restricted day
    (YYYY-MM-DD) or empty. As `guqiao register roster` shows them.
    """

    account: str
    product_code: str
    nature: str
    total: int
    available: int
    pledged: int
    frozen: int
    pledged_and_frozen: int
    confirmed: bool
    restricted_until: str


@dataclass(frozen=True, slots=True)
class Encumbrance:
    """A pledge or freeze that is outstanding. `effective` shares are bound now, `waiting` ones when
    their turn comes; `queue_place` counts from 1, 0 where nothing waits. What the kind does not
    have is empty, `fruits` then false.
    """

    kind: str
    number: str
    account: str
    product_code: str
    nature: str
    registered: int
    effective: int
    waiting: int
    queue_place: int
    pledgee_uscc: str
    category: str
    fruits: bool
    court_doc_no: str
    term_end: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a holding was after one operation; with a total of 0 it ended. `index` is the place of
    the transaction in its block, `time` its business time.
    """

    height: int
    index: int
    transaction: str
    method: str
    time: str
    account: str
    nature: str
    total: int
    available: int
    pledged: int
    frozen: int
    pledged_and_frozen: int
    confirmed: bool
    restricted_until: str


@dataclass(frozen=True, slots=True)
class Control:
    """A control total: of the whole register where `nature` is empty."""

    control: str
    nature: str
    value: int


Row = TypeVar("Row", Holding, Encumbrance, Change, Control)


@dataclass(frozen=True, slots=True)
class Table(Generic[Row]):
    """A file of rows of one kind, ascending by `key`, none twice."""

    name: str
    kind: type[Row]
    key: Callable[[Row], tuple[int | str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header line."""
        return tuple(each.name for each in fields(self.kind))

    def write(self, rows: Iterable[Row]) -> bytes:
        """The file; the rows are sorted here."""
        lines = [self.columns]
        for row in sorted(rows, key=self.key):
            lines.append(tuple(_cell(getattr(row, name)) for name in self.columns))
        return "".join(",".join(line) + "\n" for line in lines).encode()

    def read(self, data: bytes) -> tuple[Row, ...]:
        """The rows of `write`'s bytes, and of no others; raises `ProofError` that names the table
        and the line.
        """
        kinds = {each.name: str(each.type) for each in fields(self.kind)}
        rows = [
            self._row(kinds, cells, line) for line, cells in enumerate(self._lines(data), start=2)
        ]
        for line, (before, row) in enumerate(pairwise(rows), start=3):
            if self.key(before) >= self.key(row):
                raise self.refusal(f"line {line} does not come after the line before it")
        if self.write(rows) != data:
            raise self.refusal("it is not written in the form of an export")
        return tuple(rows)

    def require_same(self, rows: Sequence[Row], proven: Iterable[Row]) -> None:
        """Raise `ProofError` that names the first line which is not the proven one."""
        expected = sorted(proven, key=self.key)
        for line, (row, other) in enumerate(zip(rows, expected, strict=False), start=2):
            for name in self.columns:
                if getattr(row, name) != getattr(other, name):
                    raise self.refusal(f"line {line}, column {name} is not what is proven")
        if len(rows) != len(expected):
            raise self.refusal(f"{len(rows)} rows, {len(expected)} are proven")

    def refusal(self, detail: str) -> ProofError:
        """Why this table is refused."""
        return ProofError(f"table {self.name}", detail)

    def _lines(self, data: bytes) -> list[list[str]]:
        try:
            text = data.decode()
            lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise self.refusal(f"it is not CSV in UTF-8 ({error})") from None
        if not lines or tuple(lines[0]) != self.columns:
            raise self.refusal("its header line is another")
        if len(lines) > ROWS_MAX:
            raise self.refusal(f"it has more than {ROWS_MAX} rows")
        return lines[1:]

    def _row(self, kinds: Mapping[str, str], cells: Sequence[str], line: int) -> Row:
        if len(cells) != len(kinds):
            raise self.refusal(f"line {line} has {len(cells)} cells")
        values: dict[str, Any] = {}
        for (name, kind), cell in zip(kinds.items(), cells, strict=True):
            value = _value(kind, cell)
            if value is None:
                raise self.refusal(f"line {line}, column {name} has no such value")
            values[name] = value
        return self.kind(**values)


HOLDERS: Final = Table("holders.csv", Holding, lambda row: (row.account, row.nature))
ENCUMBRANCES: Final = Table("encumbrances.csv", Encumbrance, lambda row: (row.kind, row.number))
HISTORY: Final = Table(
    "history.csv", Change, lambda row: (row.height, row.index, row.account, row.nature)
)
RECONCILIATION: Final = Table("reconciliation.csv", Control, lambda row: (row.control, row.nature))


def _cell(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text.startswith(FORMULA_STARTS):
        text = GUARD + text
    if _QUOTED.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


def _value(kind: str, cell: str) -> str | int | None:
    """The value of a cell, None where it is none of the kind."""
    if kind == "int":
        return int(cell) if _COUNT.fullmatch(cell) else None
    if kind == "bool":
        return {"true": True, "false": False}.get(cell)
    return cell.removeprefix(GUARD)
