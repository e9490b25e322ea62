"""The registry's SQL for positions, encumbrances and dividends: one function a statement.

A row of a position or an encumbrance holds from a height to a height, so lists are as at any
height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from typing import TypeVar

from asyncpg import Record

from services.chassis.postgres import Connection

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class PositionRow:
    """One position as from a height; `restricted_until` is the last restricted day."""

    account: str
    product_code: str
    nature: str
    from_height: int
    total: int
    available: int
    pledged: int
    frozen: int
    pledged_and_frozen: int
    confirmed: bool
    restricted_until: date | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What rosters are sorted by."""
        return self.account, self.product_code, self.nature


@dataclass(frozen=True, slots=True)
class EncumbranceRow:
    """A freeze or pledge as from a height; `registered` are the shares first asked for,
    which a corporate action may let it outgrow."""

    kind: str
    number: str
    from_height: int
    account: str
    product_code: str
    nature: str
    registered: int
    effective: int
    waiting: int

    @property
    def key(self) -> tuple[str, str]:
        """What lists are sorted by."""
        return self.kind, self.number


@dataclass(frozen=True, slots=True)
class DividendRow:
    """A line of a payable list, or, without `shares`, what rounding leaves of its declared amount.

    `position` is that of the transaction in the block, `line` that of the row in the list.
    """

    height: int
    position: int
    line: int
    dividend_no: str
    product_code: str
    account: str
    nature: str
    shares: int | None
    amount_fen: int
    status: str

    @property
    def key(self) -> tuple[int, int, int]:
        """What lists are sorted by."""
        return self.height, self.position, self.line


async def end_positions(
    connection: Connection, keys: Sequence[tuple[str, str, str]], height: int
) -> None:
    """Let the current rows of different positions hold no longer from `height` on;

    rows of that height are replaced.
    """
    ended = [(*key, height) for key in keys]
    await connection.executemany(
        """
        DELETE FROM positions
        WHERE position_digest(account, product_code, nature) = position_digest($1, $2, $3)
          AND from_height = $4
        """,
        ended,
    )
    await connection.executemany(
        """
        UPDATE positions SET to_height = $4
        WHERE position_digest(account, product_code, nature) = position_digest($1, $2, $3)
          AND to_height IS NULL
        """,
        ended,
    )


async def insert_positions(connection: Connection, rows: Sequence[PositionRow]) -> None:
    """Add rows of different positions that hold from their height on."""
    await connection.executemany(
        """
        INSERT INTO positions (account, product_code, nature, from_height, total, available,
                               pledged, frozen, pledged_and_frozen, confirmed, restricted_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        [
            (
                *row.key,
                row.from_height,
                row.total,
                row.available,
                row.pledged,
                row.frozen,
                row.pledged_and_frozen,
                row.confirmed,
                row.restricted_until,
            )
            for row in rows
        ],
    )


async def list_positions(
    connection: Connection,
    *,
    height: int,
    product_code: str,
    after: tuple[str, str, str],
    limit: int,
    name_bytes_max: int,
) -> tuple[list[PositionRow], bool]:
    """The positions that hold at `height`, after a key, by account, product and nature in code
    point order, and whether there are more of them. Their names have at most so many bytes
    together, unless there is but one.
    """
    rows = await connection.fetch(
        """
        WITH page AS (
            SELECT account, product_code, nature, from_height, total, available, pledged, frozen,
                   pledged_and_frozen, confirmed, restricted_until
            FROM positions
            WHERE from_height <= $1 AND (to_height IS NULL OR to_height > $1)
              AND ($2 = '' OR product_code = $2)
              AND (account COLLATE "C", product_code COLLATE "C", nature COLLATE "C") > ($3, $4, $5)
            ORDER BY account COLLATE "C", product_code COLLATE "C", nature COLLATE "C"
            LIMIT $6::bigint + 1
        ), sized AS (
            SELECT *, row_number() OVER places AS place,
                   sum(octet_length(account) + octet_length(product_code) + octet_length(nature))
                       OVER places AS name_bytes
            FROM page
            WINDOW places AS (
                ORDER BY account COLLATE "C", product_code COLLATE "C", nature COLLATE "C"
                ROWS UNBOUNDED PRECEDING)
        )
        SELECT account, product_code, nature, from_height, total, available, pledged, frozen,
               pledged_and_frozen, confirmed, restricted_until,
               (SELECT count(*) FROM sized) AS found
        FROM sized WHERE place = 1 OR (place <= $6 AND name_bytes <= $7) ORDER BY place
        """,
        height,
        product_code,
        *after,
        limit,
        name_bytes_max,
    )
    return _page_of(PositionRow, rows)


async def is_registered(connection: Connection, product_code: str, height: int) -> bool:
    """Whether the product was registered by then: registration gives it its first holders."""
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM positions WHERE product_code = $1 AND from_height <= $2)",
        product_code,
        height,
    )
    return bool(found)


async def end_encumbrances(
    connection: Connection, keys: Sequence[tuple[str, str]], height: int
) -> None:
    """Let the current rows of different encumbrances hold no longer from `height` on;

    rows of that height are replaced.
    """
    ended = [(*key, height) for key in keys]
    await connection.executemany(
        """
        DELETE FROM encumbrances
        WHERE kind = $1 AND text_digest(number) = text_digest($2) AND from_height = $3
        """,
        ended,
    )
    await connection.executemany(
        """
        UPDATE encumbrances SET to_height = $3
        WHERE kind = $1 AND text_digest(number) = text_digest($2) AND to_height IS NULL
        """,
        ended,
    )


async def insert_encumbrances(connection: Connection, rows: Sequence[EncumbranceRow]) -> None:
    """Add rows of different encumbrances that hold from their height on."""
    await connection.executemany(
        """
        INSERT INTO encumbrances (kind, number, from_height, account, product_code, nature,
                                  registered, effective, waiting)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        [astuple(row) for row in rows],
    )


async def list_encumbrances(
    connection: Connection,
    *,
    height: int,
    product_code: str,
    after: tuple[str, str],
    limit: int,
    name_bytes_max: int,
) -> tuple[list[EncumbranceRow], bool]:
    """The encumbrances, ended ones too, as at `height`, after a key, by kind and number in code
    point order, and whether there are more of them. Names are bounded as in `list_positions`.
    """
    rows = await connection.fetch(
        """
        WITH page AS (
            SELECT kind, number, from_height, account, product_code, nature, registered, effective,
                   waiting
            FROM encumbrances
            WHERE from_height <= $1 AND (to_height IS NULL OR to_height > $1)
              AND ($2 = '' OR product_code = $2)
              AND (kind COLLATE "C", number COLLATE "C") > ($3, $4)
            ORDER BY kind COLLATE "C", number COLLATE "C"
            LIMIT $5::bigint + 1
        ), sized AS (
            SELECT *, row_number() OVER places AS place,
                   sum(octet_length(number) + octet_length(account) + octet_length(product_code)
                       + octet_length(nature)) OVER places AS name_bytes
            FROM page
            WINDOW places AS (ORDER BY kind COLLATE "C", number COLLATE "C"
                              ROWS UNBOUNDED PRECEDING)
        )
        SELECT kind, number, from_height, account, product_code, nature, registered, effective,
               waiting, (SELECT count(*) FROM sized) AS found
        FROM sized WHERE place = 1 OR (place <= $5 AND name_bytes <= $6) ORDER BY place
        """,
        height,
        product_code,
        *after,
        limit,
        name_bytes_max,
    )
    return _page_of(EncumbranceRow, rows)


async def insert_dividend(connection: Connection, rows: Sequence[DividendRow]) -> None:
    """Add the rows of one dividend; those that are there already stay."""
    first = rows[0]
    await connection.execute(
        """
        INSERT INTO dividends (height, position, dividend_no, product_code)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        *(first.height, first.position, first.dividend_no, first.product_code),
    )
    await connection.executemany(
        """
        INSERT INTO dividend_rows (height, position, line, account, nature, shares, amount_fen,
                                   status)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
        """,
        [
            (*row.key, row.account, row.nature, row.shares, row.amount_fen, row.status)
            for row in rows
        ],
    )


async def list_dividends(
    connection: Connection,
    *,
    height: int,
    product_code: str,
    after: tuple[int, int, int],
    limit: int,
    name_bytes_max: int,
) -> tuple[list[DividendRow], bool]:
    """The rows of the dividends declared up to `height`, after a key, in the order of declaration,
    and whether there are more of them. Names are bounded as in `list_positions`.
    """
    rows = await connection.fetch(
        """
        WITH page AS (
            SELECT height, position, line, dividend_no, product_code, account, nature, shares,
                   amount_fen, status
            FROM dividend_rows JOIN dividends USING (height, position)
            WHERE height <= $1 AND ($2 = '' OR product_code = $2)
              AND (height, position, line) > ($3, $4, $5)
            ORDER BY height, position, line
            LIMIT $6::bigint + 1
        ), sized AS (
            SELECT *, row_number() OVER places AS place,
                   sum(octet_length(dividend_no) + octet_length(product_code)
                       + octet_length(account) + octet_length(nature)) OVER places AS name_bytes
            FROM page
            WINDOW places AS (ORDER BY height, position, line ROWS UNBOUNDED PRECEDING)
        )
        SELECT height, position, line, dividend_no, product_code, account, nature, shares,
               amount_fen, status, (SELECT count(*) FROM sized) AS found
        FROM sized WHERE place = 1 OR (place <= $6 AND name_bytes <= $7) ORDER BY place
        """,
        height,
        product_code,
        *after,
        limit,
        name_bytes_max,
    )
    return _page_of(DividendRow, rows)


def _page_of(kind: Callable[..., Row], records: Sequence[Record]) -> tuple[list[Row], bool]:
    """The rows of a page, and whether more were found than it has room for."""
    values = [dict(record) for record in records]
    found = sum({row.pop("found") for row in values})
    return [kind(**row) for row in values], found > len(values)


async def put_account(connection: Connection, account: str, counted_holders: int) -> None:
    """Keep as how many holders an account counts; one that was closed may be opened again."""
    await connection.execute(
        """
        INSERT INTO accounts (account, counted_holders) VALUES ($1, $2)
        ON CONFLICT (text_digest(account)) DO UPDATE SET counted_holders = excluded.counted_holders
        """,
        account,
        counted_holders,
    )


async def insert_product(connection: Connection, product_code: str) -> None:
    """Add a product, which is registered once; a block again changes nothing."""
    await connection.execute(
        "INSERT INTO products (product_code) VALUES ($1) ON CONFLICT DO NOTHING", product_code
    )


async def list_changed(connection: Connection, above: int, height: int) -> list[str]:
    """The products of which a position or an encumbrance began or ended above one height, up to
    another.
    """
    rows = await connection.fetch(
        """
        SELECT product_code FROM positions WHERE from_height > $1 AND from_height <= $2
        UNION SELECT product_code FROM positions WHERE to_height > $1 AND to_height <= $2
        UNION SELECT product_code FROM encumbrances WHERE from_height > $1 AND from_height <= $2
        UNION SELECT product_code FROM encumbrances WHERE to_height > $1 AND to_height <= $2
        """,
        above,
        height,
    )
    return [row["product_code"] for row in rows]
