"""Reader of market datasets, format guqiao-market-dataset/1 (docs/market-dataset.md).

A folder is read whole and checked row by row; anything malformed gives the list of problems, each
with its file, line and field, and no dataset, unless the caller asks to leave malformed rows out. A
dataset yields its events in order and the bodies that put its reference data on a chain. Identity
numbers leave it only as keyed digests.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk import market_shapes as shapes
from guqiao_sdk.market_identifiers import identity_valid_from
from guqiao_sdk.market_shapes import Converter, ShapeError

ROWS_IN_CHUNK: Final = 200
"""Rows in one reference data body, as the register contract accepts them."""

CHUNK_BYTES_MAX: Final = 512 * 1024
"""Of rows in one body, so that it fits a transaction; a larger row goes alone."""

FIELD_CHARACTERS_MAX: Final = (1 << 31) - 1
"""A field may be as long as it likes; without this, Python's reader stops at 131,072."""

INTEGER_LENGTH_MAX: Final = 20
"""Characters of an integer; more can only be out of range."""

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
    """What is malformed, and where. Line 0 speaks of the file as a whole."""

    file: str
    line: int
    field: str
    problem: str

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
        with (self.folder / "events.jsonl").open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if number not in left_out:
                    yield _to_event(_parse_json(line))

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

    With `leave_out_malformed` the dataset is what remains without the malformed rows, which it
    names. A file that is malformed as a whole (missing, another encoding or header) still refuses
    the folder: there is no row to leave out.
    """
    reader = _Reader(folder, [], set())
    dataset = reader.read()
    refused = reader.problems and (reader.whole_file_malformed or not leave_out_malformed)
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


@dataclass(slots=True)
class _Reader:
    folder: Path
    problems: list[RowProblem]
    malformed: set[tuple[str, int]]
    whole_file_malformed: bool = False

    def read(self) -> MarketDataset | None:
        market = self._market()
        companies = self._csv("companies.csv", shapes.COMPANY, unique=["company_ref"])
        investors = self._csv(
            "investors.csv", shapes.INVESTOR, unique=["investor_ref", "investor_code"]
        )
        products = self._csv("products.csv", shapes.PRODUCT, unique=["product_code"])
        days = self._trading_days()
        companies = self._kept("companies.csv", companies)
        self._references(companies, investors, products)
        event_count = self._events(days)
        if market is None:
            return None
        return MarketDataset(
            folder=self.folder,
            market=market,
            companies=tuple(row for _, row in companies),
            investors=tuple(row for _, row in self._kept("investors.csv", investors)),
            products=tuple(row for _, row in self._kept("products.csv", products)),
            trading_days=tuple(days),
            event_count=event_count,
            left_out=tuple(self.problems),
        )

    def _report(self, file: str, line: int, field: str, problem: str) -> None:
        self.problems.append(RowProblem(file, line, field.removeprefix("."), problem))
        self.malformed.add((file, line))

    def _report_file(self, file: str, line: int, problem: str) -> None:
        """What concerns the file as a whole, though it shows at a line."""
        self.whole_file_malformed = True
        self._report(file, line, "", problem)

    def _kept(self, file: str, rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
        """The rows that nothing was reported of."""
        return [(line, row) for line, row in rows if (file, line) not in self.malformed]

    def _text(self, file: str) -> str | None:
        """Return a file's text when it keeps the file conventions."""
        try:
            data = (self.folder / file).read_bytes()
        except OSError as error:
            self._report_file(file, 0, f"cannot be read: {error.strerror}")
            return None
        if data.startswith(b"\xef\xbb\xbf"):
            self._report_file(file, 1, "begins with a byte order mark")
        if data and not data.endswith(b"\n"):
            self._report_file(file, data.count(b"\n") + 1, "the last line is not ended")
        if b"\r" in data:
            self._report_file(
                file, data[: data.index(b"\r")].count(b"\n") + 1, "not an LF line end"
            )
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            self._report_file(file, data[: error.start].count(b"\n") + 1, "not UTF-8")
            return None

    def _market(self) -> Row | None:
        content = self._text("market.json")
        if content is None:
            return None
        market: Row | None = self._convert("market.json", 1, shapes.MARKET, content)
        return market

    def _convert(self, file: str, line: int, shape: Converter, content: str) -> Any:
        """Return the JSON value of a file or line in its shape, or report and return None."""
        try:
            return shape(_parse_json(content))
        except json.JSONDecodeError as error:
            self._report(file, line + error.lineno - 1, "", f"not JSON: {error.msg}")
        except ShapeError as error:
            self._report(file, line, error.field, error.problem)
        except RecursionError:
            self._report(file, line, "", "nested too deep")
        return None

    def _csv(
        self, file: str, shape: Mapping[str, Converter], *, unique: Sequence[str]
    ) -> list[tuple[int, Row]]:
        """Return the rows with their line numbers."""
        content = self._text(file)
        if content is None:
            return []
        csv.field_size_limit(FIELD_CHARACTERS_MAX)
        reader = csv.reader(io.StringIO(content, newline=""), strict=True)
        rows: list[tuple[int, Row]] = []
        try:
            if next(reader, None) != list(shape):
                self._report_file(file, 1, "the header is not " + ",".join(shape))
                return []
            for fields in reader:
                row = self._csv_row(file, reader.line_num, fields, shape)
                if row is not None:
                    rows.append((reader.line_num, row))
        except csv.Error as error:
            self._report_file(file, reader.line_num, f"not CSV: {error}")
        for name in unique:
            self._unique(file, rows, name)
        return rows

    def _csv_row(
        self, file: str, line: int, fields: list[str], shape: Mapping[str, Converter]
    ) -> Row | None:
        if len(fields) != len(shape):
            self._report(file, line, "", f"{len(fields)} fields where {len(shape)} belong")
            return None
        row: Row = {}
        for (name, convert), field in zip(shape.items(), fields, strict=True):
            try:
                row[name] = convert(field)
            except ShapeError as error:
                self._report(file, line, name, error.problem)
        return row if len(row) == len(shape) else None

    def _unique(self, file: str, rows: list[tuple[int, Row]], name: str) -> None:
        lines: dict[str, int] = {}
        for line, row in rows:
            earlier = lines.setdefault(row[name], line)
            if earlier != line:
                self._report(file, line, name, f"the same as in line {earlier}")

    def _references(
        self,
        companies: list[tuple[int, Row]],
        investors: list[tuple[int, Row]],
        products: list[tuple[int, Row]],
    ) -> None:
        known = {row["company_ref"] for _, row in companies}
        for line, row in products:
            if row["company_ref"] not in known:
                self._report("products.csv", line, "company_ref", "not in companies.csv")
        for line, row in investors:
            if row["id_type"] != _ID_TYPE_OF_KIND[row["kind"]]:
                self._report("investors.csv", line, "id_type", f"not that of kind {row['kind']}")
            if row["investor_code"][0] != row["kind"]:
                self._report("investors.csv", line, "investor_code", "not of the row's kind")

    def _trading_days(self) -> list[str]:
        content = self._text("trading_days.txt")
        days: list[str] = []
        for line, written in enumerate((content or "").split("\n")[:-1], start=1):
            try:
                day = shapes.day(written)
            except ShapeError as error:
                self._report("trading_days.txt", line, "day", error.problem)
                continue
            if days and day <= days[-1]:
                self._report("trading_days.txt", line, "day", "not later than the line before")
                continue
            days.append(day)
        return days

    def _events(self, days: list[str]) -> int:
        content = self._text("events.jsonl")
        count, time = 0, ""
        for line, written in enumerate((content or "").split("\n")[:-1], start=1):
            event = self._convert("events.jsonl", line, _event_shape, written)
            if event is None:
                continue
            for field, problem in _event_problems(event, line, time, days):
                self._report("events.jsonl", line, field, problem)
            if ("events.jsonl", line) not in self.malformed:
                count, time = count + 1, event["time"]
        return count


def _event_problems(event: Row, line: int, time: str, days: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (field, problem) of an event whose shape is right; `time` is that of the one before."""
    if event["seq"] != line:
        yield "seq", f"{event['seq']} where {line} belongs"
    if event["time"] < time:
        yield "time", "earlier than the line before"
    if _needs_calendar(event) and not (days and days[0] <= event["time"][:10] <= days[-1]):
        yield "time", "outside trading_days.txt"


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


def _parse_json(content: str) -> Any:
    """Parse JSON in which a number is an integer and a member occurs once."""
    return json.loads(
        content,
        object_pairs_hook=_members,
        parse_int=_integer,
        parse_float=_no_fraction,
        parse_constant=_no_fraction,
    )


def _members(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ShapeError(twice, "the member occurs twice")
    return row


def _integer(written: str) -> int:
    if len(written) > INTEGER_LENGTH_MAX:
        raise ShapeError("", f"{written[:40]} is an integer out of range")
    return int(written)


def _no_fraction(written: str) -> Any:
    raise ShapeError("", f"{written[:40]} is not an integer")
