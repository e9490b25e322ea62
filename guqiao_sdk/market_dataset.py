"""Reader of market datasets, format guqiao-market-dataset/1 (docs/market-dataset.md).

A folder is read whole and checked row by row; anything malformed gives the list of problems, each
with its file, line and field, and no dataset, unless the caller asks to leave malformed rows out.
Only causes count as malformed; what follows from one is said to follow. A dataset yields its events
in order and the bodies that put its reference data on a chain. Identity numbers leave it only as
keyed digests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from guqiao_sdk import market_shapes as shapes
from guqiao_sdk.market_identifiers import identity_valid_from
from guqiao_sdk.market_shapes import Converter, ShapeError
from guqiao_sdk.market_text import (
    NotJsonError,
    check_characters,
    csv_rows,
    lines_of,
    loose_fields,
    misplaced,
    parse_json,
)

ROWS_IN_CHUNK: Final = 200
"""Rows in one reference data body, as the register contract accepts them."""

CHUNK_BYTES_MAX: Final = 512 * 1024
"""Of rows in one body, so that it fits a transaction; a larger row goes alone."""

DATASET_FILES: Final = (
    *("market.json", "companies.csv", "investors.csv"),
    *("products.csv", "events.jsonl", "trading_days.txt"),
)

Row = dict[str, Any]
IdentityDigest = Callable[[str, str], str]
"""From (id_type, id_number) to the keyed digest, 64 lower-case hexadecimal digits."""

_ID_TYPE_OF_KIND: Final = {"Q": "resident_id", "R": "uscc", "S": "product_record"}
_ON_CHAIN: Final = (
    *("market_code", "chain_name", "operator", "currency", "period_start", "period_end"),
    *("rules", "share_natures", "evidence_required"),
)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is malformed, and where: the line in which the row begins. Line 0: the whole file.

    A row with a `cause` is right itself, but refers to the row at that place, which is malformed
    or follows from one that is.
    """

    file: str
    line: int
    field: str
    problem: str
    cause: str = ""
    whole_file: bool = False
    """There is no row that could be left out."""

    def __str__(self) -> str:
        """Return the problem as one line for a person."""
        return f"{self.file}:{self.line}: {self.field or 'row'}: {self.problem}"


@dataclass(frozen=True, slots=True)
class DatasetEvent:
    """One event. `body` holds the members of its type and `evidence`: a contract call's body."""

    seq: int
    time: str
    type: str
    request_id: str
    body: Row


@dataclass(frozen=True, slots=True)
class MarketDataset:
    """A well-formed dataset. `left_out` tells the malformed rows that are not in it."""

    folder: Path
    market: Row
    companies: tuple[Row, ...]
    investors: tuple[Row, ...]
    products: tuple[Row, ...]
    trading_days: tuple[str, ...]
    event_count: int
    left_out: tuple[RowProblem, ...] = ()

    def events(self) -> Iterator[DatasetEvent]:
        """Yield the events in order, one line at a time."""
        left_out = {row.line for row in self.left_out if row.file == "events.jsonl"}
        with (self.folder / "events.jsonl").open("rb") as lines:  # Lines left out are any bytes.
            for number, line in enumerate(lines, start=1):
                if number not in left_out:
                    yield _to_event(parse_json(line.decode("utf-8")))

    def reference_calls(self, identity_digest: IdentityDigest) -> Iterator[tuple[str, Row]]:
        """Yield (method, body) of the contract calls that put the reference data on a chain."""
        yield "configure_market", {name: self.market[name] for name in _ON_CHAIN}
        # A year of the calendar may have no trading day at all: that, too, has to be told.
        years = [int(day[:4]) for day in (*self.trading_days[:1], *self.trading_days[-1:])]
        for year in range(years[0], years[-1] + 1) if years else ():
            days = [day for day in self.trading_days if day.startswith(f"{year:04}-")]
            yield "put_trading_days", {"year": year, "days": days}
        for name, rows in (
            ("companies", self.companies),
            ("products", self.products),
            ("investors", [self._on_chain(row, identity_digest) for row in self.investors]),
        ):
            for chunk in row_chunks(rows, count_max=ROWS_IN_CHUNK, bytes_max=CHUNK_BYTES_MAX):
                yield f"put_{name}", {name: chunk}

    def _on_chain(self, investor: Row, identity_digest: IdentityDigest) -> Row:
        """Return the investor as the chain may know it: no name and no number."""
        id_type, id_number = investor["id_type"], investor["id_number"]
        period_start = self.market["period_start"]
        hidden = ("name", "id_number")
        return {
            **{name: value for name, value in investor.items() if name not in hidden},
            "identity_digest": identity_digest(id_type, id_number),
            "identity_valid_from": identity_valid_from(
                id_type, id_number, period_start=period_start
            ),
        }


def read_dataset(
    folder: Path, *, leave_out_malformed: bool = False
) -> MarketDataset | list[RowProblem]:
    """Return the dataset of a folder, or every problem that makes it malformed.

    With `leave_out_malformed` the dataset is what remains without the malformed rows and those that
    refer to them, all of which it names. A file that is malformed as a whole (missing, cut off, a
    wrong header) still refuses the folder: there is no row to leave out.
    """
    reader = _Reader(folder)
    dataset = reader.read()
    refused = reader.problems and (reader.unreadable or not leave_out_malformed)
    return reader.problems if dataset is None or refused else dataset


def row_chunks(rows: Sequence[Row], *, count_max: int, bytes_max: int) -> Iterator[list[Row]]:
    """Yield the rows in order, in lists of bounded count and size; a row too large goes alone."""
    chunk: list[Row] = []
    left = bytes_max
    for row in rows:
        size = len(json.dumps(row, ensure_ascii=False).encode())
        if chunk and (len(chunk) == count_max or size > left):
            yield chunk
            chunk, left = [], bytes_max
        chunk.append(row)
        left -= size
    if chunk:
        yield chunk


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
class _Numbering:
    """Which number the next event may have: the next one, or higher by the malformed lines since.

    Behind a number out of place its successor is taken as well: a missing or a surplus line is
    named once, and not each line behind it.
    """

    low: int = 1
    high: int = 1
    resumed: int = 0

    def fits(self, seq: int) -> bool:
        """Whether an event may have this number."""
        return seq >= self.low and (seq <= self.high or seq == self.resumed)

    def go_on(self, seq: int) -> None:
        """Behind an event in its place."""
        self.low = self.high = seq + 1

    def skip(self, seq: int = 0) -> None:
        """Behind a malformed line, which may have been an event, and behind one out of place."""
        self.high += 1
        self.resumed = seq + 1


@dataclass(slots=True)
class _Reader:
    folder: Path
    problems: list[RowProblem] = field(default_factory=list)
    malformed: set[tuple[str, int]] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    """Files that are malformed as a whole."""

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
        event_count = self._events(days, keys)
        self.problems.sort(key=lambda row: row.cause != "")
        if market is None:
            return None
        return MarketDataset(
            folder=self.folder,
            market=market,
            companies=tuple(companies.rows.values()),
            investors=tuple(investors.rows.values()),
            products=tuple(products.rows.values()),
            trading_days=tuple(days),
            event_count=event_count,
            left_out=tuple(self.problems),
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
        try:
            data = (self.folder / file).read_bytes()
        except OSError as error:
            self._report_file(file, 0, f"cannot be read: {error.strerror}")
            return []
        if data.startswith(b"\xef\xbb\xbf"):
            self._report_file(file, 1, "begins with a byte order mark")
            data = data[3:]
        if data and not data.endswith(b"\n"):
            self._report_file(file, data.count(b"\n") + 1, "the last line is not ended")
        if b"\r\n" in data and data.count(b"\r\n") == data.count(b"\n"):
            self._report_file(file, 1, "every line ends with CR LF, not with LF alone")
            data = data.replace(b"\r\n", b"\n")
        return lines_of(data)

    def _market(self) -> Row | None:
        """One value; whatever is wrong with it refuses the folder."""
        content = "\n".join(self._lines("market.json"))
        if "market.json" in self.unreadable:
            return None
        market: Row | None = self._convert("market.json", 1, shapes.MARKET, content)
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
            self._report(file, line, error.field, error.problem)
        return None

    def _csv(self, file: str, shape: Mapping[str, Converter], *, unique: Sequence[str]) -> _Table:
        table, names, lines = _Table(file), list(shape), self._lines(file)
        if not lines and file in self.unreadable:
            return table
        if list(csv_rows(lines[:1], names)) != [(1, names)]:
            self._report_file(file, 1, "the header is not " + ",".join(names))
            return table
        for number, fields in csv_rows(lines[1:], names):
            line = number + 1
            if isinstance(fields, ShapeError):
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

    def _events(self, days: list[str], keys: Mapping[str, _Keys]) -> int:
        """Check the events and return how many there are to import."""
        file, numbering = "events.jsonl", _Numbering()
        times: dict[int, str] = {}
        followers: dict[int, tuple[str, str, str]] = {}
        for line, written in enumerate(self._lines(file), start=1):
            event = self._convert(file, line, _event_shape, written)
            if event is None:
                numbering.skip()
            elif not numbering.fits(event["seq"]):
                problem = f"{event['seq']} where {numbering.high} belongs"
                self._report(file, line, "seq", problem)
                numbering.skip(event["seq"])
            else:
                numbering.go_on(event["seq"])
                self._check_calendar(line, event, days)
                times[line] = event["time"]
                followers.update((line, it) for it in islice(_lost_references(event, keys), 1))
        for line, is_early in _out_of_order(times, repeats=True):
            if is_early:
                self._report(file, line, "time", "earlier than the line before")
            else:
                self._report(file, line, "time", "later than the lines after it")
        for line, (name, problem, cause) in followers.items():
            if (file, line) not in self.malformed:
                self._report(file, line, name, problem, cause)
        return sum((file, line) not in self.malformed for line in times)

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
    return row, problems


def _out_of_order(values: Mapping[int, str], *, repeats: bool) -> Iterator[tuple[int, bool]]:
    """Yield the lines that are out of order, and whether each is too early or else too late."""
    wrong = misplaced([*values.values()], repeats=repeats)
    latest = ""
    for index, (line, value) in enumerate(values.items()):
        if index in wrong:
            yield line, value <= latest
        else:
            latest = value


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
    return event


def _to_event(event: Row) -> DatasetEvent:
    body = {name: value for name, value in event.items() if name not in shapes.ENVELOPE}
    return DatasetEvent(event["seq"], event["time"], event["type"], event["request_id"], body)
