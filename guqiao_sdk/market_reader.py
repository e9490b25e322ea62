"""Reader of market datasets, format guqiao-market-dataset/1 (docs/market-dataset.md).

A folder is read whole and checked row by row; anything malformed gives the list of problems, each
with its file, line and field, and no dataset, unless the caller asks to leave malformed rows out.
Only causes count as malformed; what follows from one is said to follow.
"""

from __future__ import annotations

import stat
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from guqiao_sdk import market_shapes as shapes
from guqiao_sdk.market_dataset import (
    DATASET_FILES,
    DatasetEvent,
    MarketDataset,
    Row,
    RowProblem,
)
from guqiao_sdk.market_shapes import Converter, ShapeError
from guqiao_sdk.market_sizes import CALL_BYTES_MAX, check_size
from guqiao_sdk.market_text import (
    LINE_BYTES_KEPT,
    LINE_BYTES_MAX,
    LINE_TOO_LONG,
    NotJsonError,
    broken_member,
    check_characters,
    csv_rows,
    last_field,
    line_of,
    loose_fields,
    misplaced,
    parse_json,
    read_lines,
)

_ID_TYPE_OF_KIND: Final = {"Q": "resident_id", "R": "uscc", "S": "product_record"}


def read_dataset(
    folder: Path, *, leave_out_malformed: bool = False
) -> MarketDataset | list[RowProblem]:
    """Return the dataset of a folder, or every problem that makes it malformed.

    With `leave_out_malformed` the dataset is what remains without the malformed rows and those that
    refer to them, all of which it names; an event before which others are missing remains. A file
    that is malformed as a whole (missing, cut off, a wrong header) still refuses the folder: there
    is no row to leave out.
    """
    reader = _Reader(folder)
    dataset = reader.read()
    refused = reader.problems and (reader.unreadable or not leave_out_malformed)
    return reader.problems if dataset is None or refused else dataset


@dataclass(frozen=True, slots=True)
class _Keys:
    """A key field of a table: the values of good rows; of malformed rows, those that no good row
    has, with their places; and the place of a malformed row whose value cannot be told.
    """

    kept: frozenset[str] = frozenset()
    lost: Mapping[str, str] = field(default_factory=dict)
    nameless: str = ""

    def cause(self, value: str) -> str:
        """The malformed row that has, or may have, a value which no good row has; else empty."""
        return "" if value in self.kept else self.lost.get(value, self.nameless)


@dataclass(slots=True)
class _Table:
    """The rows of a CSV file by their lines; of malformed ones the fields that are right."""

    file: str
    rows: dict[int, Row] = field(default_factory=dict)
    broken: dict[int, Row] = field(default_factory=dict)

    def drop(self, line: int) -> None:
        """Count a row among the malformed ones."""
        if line in self.rows:
            self.broken[line] = self.rows.pop(line)

    def keys(self, name: str) -> _Keys:
        """What is known of a key field; of several places the first."""
        places = {f"{self.file}:{line}": row for line, row in sorted(self.broken.items())}
        return _Keys(
            kept=frozenset(row[name] for row in self.rows.values()),
            lost={row[name]: at for at, row in reversed(places.items()) if name in row},
            nameless=next((at for at, row in places.items() if name not in row), ""),
        )


@dataclass(slots=True)
class _Reader:
    folder: Path
    problems: list[RowProblem] = field(default_factory=list)
    malformed: set[tuple[str, int]] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    """Files that are malformed as a whole."""

    too_long: dict[str, set[int]] = field(default_factory=dict)
    """Lines of which only the beginning was read."""

    def read(self) -> MarketDataset | None:
        market = self._market()
        companies = self._csv("companies.csv", shapes.COMPANY, unique=["company_ref"])
        investors = self._csv(
            "investors.csv", shapes.INVESTOR, unique=["investor_ref", "investor_code"]
        )
        products = self._csv("products.csv", shapes.PRODUCT, unique=["product_code"])
        days = self._trading_days()
        self._kinds(investors)
        self._company_of(products, companies)
        keys = {
            name: table.keys(name)
            for table, names in (
                (companies, ["company_ref"]),
                (investors, ["investor_ref", "investor_code"]),
                (products, ["product_code"]),
            )
            for name in names
        }
        events = self._events(days, keys)
        self.problems.sort(
            key=lambda row: (row.cause != "", DATASET_FILES.index(row.file), row.line)
        )
        if market is None:
            return None
        return MarketDataset(
            market=market,
            companies=tuple(companies.rows.values()),
            investors=tuple(investors.rows.values()),
            products=tuple(products.rows.values()),
            trading_days=tuple(days),
            events=tuple(map(_to_event, events)),
            left_out=tuple(row for row in self.problems if not row.is_gap),
            gaps=tuple(row for row in self.problems if row.is_gap),
        )

    def _report(self, file: str, line: int, field: str, problem: str, cause: str = "") -> None:
        self.problems.append(RowProblem(file, line, field.removeprefix("."), problem, cause))
        self.malformed.add((file, line))

    def _report_file(self, file: str, line: int, problem: str, *, field: str = "") -> None:
        """What concerns the file as a whole, though it shows at a line."""
        self.unreadable.add(file)
        self.malformed.add((file, line))
        self.problems.append(RowProblem(file, line, field, problem, whole_file=True))

    def _lines(self, file: str) -> list[str]:
        """Return a file's lines; none when it cannot be read."""
        path = self.folder / file
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # A pipe would be waited for.
                self._report_file(file, 0, "not a regular file")
                return []
            lines, self.too_long[file] = read_lines(path)
        except OSError as error:
            self._report_file(file, 0, f"cannot be read: {error.strerror}")
            return []
        if lines[0].startswith("\ufeff"):
            self._report_file(file, 1, "begins with a byte order mark")
            lines[0] = lines[0][1:]
        if lines[-1]:
            self._report_file(file, len(lines), "the last line is not ended")
        if len(lines) > 1 and all(line.endswith("\r") for line in lines[:-1]):
            self._report_file(file, 1, "every line ends with CR LF, not with LF alone")
            lines[:-1] = [line[:-1] for line in lines[:-1]]
        return lines if lines[-1] else lines[:-1]

    def _market(self) -> Row | None:
        """One value; whatever is wrong with it refuses the folder."""
        content = "\n".join(self._lines("market.json"))
        if "market.json" in self.unreadable:
            return None
        if self.too_long["market.json"] or len(content) > LINE_BYTES_MAX:
            member = broken_member(content[:LINE_BYTES_KEPT])
            self._report_file("market.json", 1, LINE_TOO_LONG, field=member)
            return None
        market: Row | None = self._convert("market.json", 1, _market_shape, content)
        if market is None:
            self.unreadable.add("market.json")
            self.problems[-1] = replace(self.problems[-1], whole_file=True)
        return market

    def _convert(self, file: str, line: int, shape: Converter, content: str) -> Any:
        """Return the JSON value of a file or line in its shape, or report and return None."""
        try:
            return shape(parse_json(content))
        except NotJsonError as error:
            self._report(file, line + error.line - 1, error.field, error.problem)
        except ShapeError as error:
            line += line_of(content, error.field) - 1
            self._report(file, line, error.field, error.problem)
        return None

    def _csv(self, file: str, shape: Mapping[str, Converter], *, unique: Sequence[str]) -> _Table:
        table, names, lines = _Table(file), list(shape), self._lines(file)
        if not lines and file in self.unreadable:
            return table
        if list(csv_rows(lines[:1], names)) != [(1, names)]:
            self._report_file(file, 1, _wrong_header(lines, names))
            return table
        for number, fields in csv_rows(lines[1:], names):
            line = number + 1
            if line in self.too_long[file]:
                self._report(file, line, last_field(lines[number], names), LINE_TOO_LONG)
                known = loose_fields(lines[number])
                row, _ = _csv_row([*known, *[""] * (len(names) - len(known))], shape)
            elif isinstance(fields, ShapeError):
                self._report(file, line, fields.field, fields.problem)
                row, _ = _csv_row(loose_fields(lines[number]), shape)
            else:
                row, problems = _csv_row(fields, shape)
                for error in problems:
                    self._report(file, line, error.field, error.problem)
            (table.broken if (file, line) in self.malformed else table.rows)[line] = row
        for name in unique:
            self._unique(table, name)
        return table

    def _unique(self, table: _Table, name: str) -> None:
        lines: dict[str, int] = {}
        for line, row in list(table.rows.items()):
            earlier = lines.setdefault(row[name], line)
            if earlier != line:
                self._report(table.file, line, name, f"the same as in line {earlier}")
                table.drop(line)

    def _kinds(self, investors: _Table) -> None:
        """What an investor's kind says of the other fields."""
        for line, row in list(investors.rows.items()):
            if row["id_type"] != _ID_TYPE_OF_KIND[row["kind"]]:
                self._report(investors.file, line, "id_type", f"not that of kind {row['kind']}")
                investors.drop(line)
            if row["investor_code"][0] != row["kind"]:
                self._report(investors.file, line, "investor_code", "not of the row's kind")
                investors.drop(line)

    def _company_of(self, products: _Table, companies: _Table) -> None:
        """A product's company is a row that is there; where that is malformed, it is the cause."""
        if companies.file in self.unreadable:
            return
        keys = companies.keys("company_ref")
        for line, row in list(products.rows.items()):
            if row["company_ref"] in keys.kept:
                continue
            cause = keys.cause(row["company_ref"])
            problem = _consequence(keys, cause) if cause else "not in companies.csv"
            self._report(products.file, line, "company_ref", problem, cause)
            products.drop(line)

    def _trading_days(self) -> list[str]:
        """One value, the calendar: without one of its days the rules judge otherwise, for good."""
        file, days = "trading_days.txt", dict[int, str]()
        for line, written in enumerate(self._lines(file), start=1):
            try:
                check_characters("day", written)
                days[line] = shapes.day(written)
            except ShapeError as error:
                self._report_file(file, line, error.problem, field="day")
        for line, is_early in _out_of_order(days, repeats=False):
            if is_early:
                self._report_file(file, line, "not later than the line before", field="day")
            else:
                self._report_file(file, line, "later than the lines after it", field="day")
        return [*days.values()]

    def _events(self, days: list[str], keys: Mapping[str, _Keys]) -> list[Row]:
        """Check the events and return those to import."""
        file = "events.jsonl"
        events: dict[int, Row] = {}
        for line, written in enumerate(self._lines(file), start=1):
            if line in self.too_long[file]:
                self._report(file, line, broken_member(written), LINE_TOO_LONG)
                continue
            event = self._convert(file, line, _event_shape, written)
            if event is not None:
                events[line] = event
        self._check_numbers(events)
        for line, event in events.items():
            self._check_calendar(line, event, days)
        self._check_times(events)
        for line, event in events.items():
            if (file, line) not in self.malformed:
                for lost in islice(_lost_references(event, keys), 1):
                    self._report(file, line, *lost)
        return [event for line, event in events.items() if (file, line) not in self.malformed]

    def _check_numbers(self, events: dict[int, Row]) -> None:
        """Take out the events that are out of place."""
        file = "events.jsonl"
        for line, problem, is_gap in misnumbered(events):
            if is_gap:
                self.problems.append(RowProblem(file, line, "seq", problem, is_gap=True))
            else:
                self._report(file, line, "seq", problem)
                del events[line]

    def _check_times(self, events: Mapping[int, Row]) -> None:
        times = {line: event["time"] for line, event in events.items()}
        for line, is_early in _out_of_order(times, repeats=True):
            if is_early:
                self._report("events.jsonl", line, "time", "earlier than the line before")
            else:
                self._report("events.jsonl", line, "time", "later than the lines after it")

    def _check_calendar(self, line: int, event: Row, days: list[str]) -> None:
        calendar = "trading_days.txt"
        if not _needs_calendar(event) or calendar in self.unreadable:
            return
        if not days:
            self._report_file(calendar, 0, "no day, where events need a calendar")
        elif not days[0] <= event["time"][:10] <= days[-1]:
            self._report("events.jsonl", line, "time", "outside trading_days.txt")


def _csv_row(fields: list[str], shape: Mapping[str, Converter]) -> tuple[Row, list[ShapeError]]:
    """Return the fields that are right, and what is wrong with the others."""
    if len(fields) != len(shape):
        return {}, [ShapeError("", f"{len(fields)} fields where {len(shape)} belong")]
    row: Row = {}
    problems: list[ShapeError] = []
    for (name, convert), written in zip(shape.items(), fields, strict=True):
        try:
            check_characters("", written)
            row[name] = convert(written)
        except ShapeError as error:
            problems.append(ShapeError(name, error.problem))
    try:
        check_size(row, beside=CALL_BYTES_MAX)
    except ShapeError as error:
        problems.append(error)
    return row, problems


def _wrong_header(lines: Sequence[str], names: Sequence[str]) -> str:
    if "\r" in "".join(lines[:1]):
        return "a carriage return, where lines end with LF alone"
    return "the header is not " + ",".join(names)


def _out_of_order(values: Mapping[int, str], *, repeats: bool) -> Iterator[tuple[int, bool]]:
    """Yield the lines that are out of order, and whether each is too early or else too late."""
    wrong = misplaced([*values.values()], repeats=repeats)
    latest = ""
    for index, (line, value) in enumerate(values.items()):
        if index in wrong:
            yield line, value <= latest
        else:
            latest = value


def misnumbered(events: Mapping[int, Row]) -> list[tuple[int, str, bool]]:
    """Return (line, problem, whether it is a gap) of the events whose number is not the one behind
    that of the event before.

    As few as possible are out of place. One with events missing before it is not: a malformed line
    between, or an event out of place, may be what is missing.
    """
    placed = _placed({line: event["seq"] for line, event in events.items() if event["seq"] >= 1})
    stray = sorted({event["seq"] for line, event in events.items() if line not in placed})
    taken = {events[line]["seq"] for line in placed}
    found: list[tuple[int, str, bool]] = []
    line_before = seq_before = 0
    for line, event in events.items():
        seq, expected = event["seq"], seq_before + line - line_before
        is_placed = line in placed
        elsewhere = bisect_left(stray, seq) - bisect_right(stray, seq_before)
        if not is_placed or seq > expected + elsewhere:
            problem = f"{seq} where {expected} belongs"
            if seq <= seq_before and expected in taken:
                problem = f"{seq} stands behind {seq_before}, and numbers ascend"
            found.append((line, problem, is_placed))
        if is_placed:
            line_before, seq_before = line, seq
    return found


def _placed(numbers: Mapping[int, int]) -> set[int]:
    """The lines of the events in their places; of two with one number the one whose neighbours have
    the numbers beside it.
    """
    wrong = misplaced([*numbers.values()], repeats=False)
    placed = {line: seq for at, (line, seq) in enumerate(numbers.items()) if at not in wrong}
    lines, twins = [*placed], {seq: line for line, seq in placed.items()}

    def neighbours(line: int) -> int:
        steps = ((line + step, numbers[line] + step) for step in (-1, 1))
        return sum(numbers.get(beside) == number for beside, number in steps)

    for line in numbers.keys() - placed.keys():
        twin = twins.get(numbers[line], line)
        is_next = bisect_left(lines, line) == bisect_right(lines, twin)
        if is_next and neighbours(line) > neighbours(twin):
            del placed[twin]
            placed[line] = numbers[line]
            lines[bisect_left(lines, twin)] = line
            twins[numbers[line]] = line
    return {*placed}


def _lost_references(event: Row, keys: Mapping[str, _Keys]) -> Iterator[tuple[str, str, str]]:
    """Yield (field, problem, place of the row) of what an event refers to and only a malformed row
    has, or may have.
    """
    for place, name, value in _references(event):
        if cause := keys[name].cause(value):
            yield place, _consequence(keys[name], cause), cause


def _consequence(keys: _Keys, cause: str) -> str:
    if cause == keys.nameless and cause not in keys.lost.values():
        return f"found nowhere, unless in {cause}, which cannot be read"
    return f"refers to {cause}"


def _references(event: Row) -> Iterator[tuple[str, str, str]]:
    """Yield (place, field of a CSV file, value) of what an event refers to."""
    for name in ("company_ref", "investor_ref", "product_code"):
        if name in event:
            yield name, name, event[name]
    for name in ("account", "seller", "buyer", "beneficiary"):
        if name in event:
            yield name, "investor_code", event[name]
    for name in ("roster", "entries"):
        for index, entry in enumerate(event.get(name, ())):
            yield f"{name}[{index}].account", "investor_code", entry["account"]


def _needs_calendar(event: Row) -> bool:
    return bool(event["type"] == "transfer" and event["reason"] == "agreement")


def _event_shape(value: Any) -> Row:
    """Take an event: the envelope tells the type, the type tells the members."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in shapes.EVENTS:
        raise ShapeError("type", "not a type of event")
    shape = {**shapes.ENVELOPE, **shapes.EVENTS[kind], "evidence": shapes.EVIDENCE}
    event: Row = shapes.members(shape)(value)
    check_size(_body(event))
    return event


def _market_shape(value: Any) -> Row:
    market: Row = shapes.MARKET(value)
    check_size(market)
    return market


def _to_event(event: Row) -> DatasetEvent:
    return DatasetEvent(
        event["seq"], event["time"], event["type"], event["request_id"], _body(event)
    )


def _body(event: Row) -> Row:
    return {name: value for name, value in event.items() if name not in shapes.ENVELOPE}
