"""`guqiao register`: the securities register."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from google.protobuf.message import Message

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.commands.calls import guarded
from guqiaoctl.network.clients import open_identity, open_service
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say

if TYPE_CHECKING:
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

ROSTER_COLUMNS: Final = (
    "account",
    "product_code",
    "nature",
    "total",
    "available",
    "pledged",
    "frozen",
    "pledged_and_frozen",
    "confirmed",
    "restricted_until",
)
ENCUMBRANCE_COLUMNS: Final = (
    "number",
    "kind",
    "account",
    "product_code",
    "nature",
    "registered",
    "effective",
    "waiting",
    "status",
)
DIVIDEND_COLUMNS: Final = (
    "dividend_no",
    "product_code",
    "account",
    "nature",
    "shares",
    "amount_fen",
    "status",
)
Row = TypeVar("Row", pb.Position, pb.Encumbrance, pb.DividendRow)
OnPage = Callable[[int], object]
Page = tuple[Iterable[Row], str, int]
"""Rows, the token of the next page (empty: there is none), and the height of all pages."""


def roster(data: Path, product: str, height: int, output: str) -> None:
    """Print the roster at a height as csv, json or a table."""
    network = load_network(data)
    with Progress(choose("positions", "持有记录")) as progress:
        found = guarded(asyncio.run, fetch_roster(network, product, height, progress.show))
        text = written(ROSTER_COLUMNS, found.rows, output)
    _print(text, found, is_latest=not height)


def encumbrances(data: Path, product: str, height: int, output: str) -> None:
    """Print the freezes and pledges as at a height, ended ones too, as csv, json or a table."""
    network = load_network(data)
    with Progress(choose("freezes and pledges", "冻结与质押")) as progress:
        found = guarded(asyncio.run, fetch_encumbrances(network, product, height, progress.show))
        text = written(ENCUMBRANCE_COLUMNS, found.rows, output)
    _print(text, found, is_latest=not height)


def dividends(data: Path, product: str, height: int, output: str) -> None:
    """Print the payable lists of the dividends declared up to a height, as csv, json or a table."""
    network = load_network(data)
    with Progress(choose("rows of dividends", "分红明细")) as progress:
        found = guarded(asyncio.run, fetch_dividends(network, product, height, progress.show))
        text = written(DIVIDEND_COLUMNS, found.rows, output)
    _print(text, found, is_latest=not height)


@dataclass(frozen=True, slots=True)
class Listed(Generic[Row]):
    """Every row of a list at a height, and where the chain stood then."""

    rows: list[Row]
    height: int
    chain_height: int


def say_if_behind(height: int, chain_height: int) -> None:
    """What is shown follows the chain by way of the bus: say so where it has not come up to it."""
    if height < chain_height:
        say(
            choose(
                f"as of height {height}: the chain is at {chain_height}, the register follows it",
                f"截至高度 {height}：链已到 {chain_height}，登记簿正在跟进",
            )
        )


async def fetch_roster(
    network: Network, product: str, height: int, on_page: OnPage = lambda count: None
) -> Listed[pb.Position]:
    """The roster at a height (0: the latest projected), all pages of one height; `on_page` is told
    how many rows have come.
    """

    async def read(stub: RegistryServiceAsyncStub, token: str) -> Page[pb.Position]:
        page = await stub.ListPositions(
            pb.ListPositionsRequest(product_code=product, height=height, page_token=token)
        )
        return page.positions, page.next_page_token, page.height

    return await _fetch(network, read, on_page)


async def fetch_encumbrances(
    network: Network, product: str, height: int, on_page: OnPage = lambda count: None
) -> Listed[pb.Encumbrance]:
    """The freezes and pledges as at a height, in the same way."""

    async def read(stub: RegistryServiceAsyncStub, token: str) -> Page[pb.Encumbrance]:
        page = await stub.ListEncumbrances(
            pb.ListEncumbrancesRequest(product_code=product, height=height, page_token=token)
        )
        return page.encumbrances, page.next_page_token, page.height

    return await _fetch(network, read, on_page)


async def fetch_dividends(
    network: Network, product: str, height: int, on_page: OnPage = lambda count: None
) -> Listed[pb.DividendRow]:
    """The payable lists up to a height, in the same way."""

    async def read(stub: RegistryServiceAsyncStub, token: str) -> Page[pb.DividendRow]:
        page = await stub.ListDividends(
            pb.ListDividendsRequest(product_code=product, height=height, page_token=token)
        )
        return page.rows, page.next_page_token, page.height

    return await _fetch(network, read, on_page)


def written(columns: Sequence[str], rows: Sequence[Row], output: str) -> str:
    """A list as `csv`, as market datasets keep it (header line, comma, LF), `json` or `table`."""
    file = io.StringIO()
    if output == "json":
        print_json([{name: _value(row, name) for name in columns} for row in rows], file)
    elif output == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(_cells(columns, row) for row in rows)
    else:
        print_table(columns, [_cells(columns, row) for row in rows], file)
    return file.getvalue()


def _print(text: str, found: Listed[Row], *, is_latest: bool) -> None:
    if is_latest:
        say_if_behind(found.height, found.chain_height)
    sys.stdout.write(text)


async def _fetch(
    network: Network,
    read: Callable[[RegistryServiceAsyncStub, str], Awaitable[Page[Row]]],
    on_page: OnPage,
) -> Listed[Row]:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    rows: list[Row] = []
    token = ""
    async with open_service(network, provider, maker, MARKET, "registry") as channel:
        stub: RegistryServiceAsyncStub = RegistryServiceStub(channel)
        while True:
            page, token, height = await read(stub, token)
            rows += page
            on_page(len(rows))
            if not token:
                status = await stub.GetStatus(pb.GetStatusRequest())
                return Listed(rows, height, status.chain_height)


def _cells(columns: Sequence[str], row: Row) -> list[object]:
    values = [_value(row, name) for name in columns]
    return [
        "" if value is None else str(value).lower() if isinstance(value, bool) else value
        for value in values
    ]


def _value(row: Message, name: str) -> object:
    """A field, or None where it may be absent and is."""
    is_absent = row.DESCRIPTOR.fields_by_name[name].has_presence and not row.HasField(name)
    return None if is_absent else getattr(row, name)
