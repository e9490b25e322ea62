"""`guqiao register`: the securities register."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

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

COLUMNS: Final = (
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


def roster(data: Path, product: str, height: int, output: str) -> None:
    """Print the roster at a height as csv, json or a table."""
    network = load_network(data)
    text = io.StringIO()
    with Progress(choose("positions", "持有记录")) as progress:
        found = guarded(asyncio.run, fetch_roster(network, product, height, progress.show))
        _write(found.rows, output, text)
    if not height:
        say_if_behind(found.height, found.chain_height)
    sys.stdout.write(text.getvalue())


@dataclass(frozen=True, slots=True)
class Roster:
    """Every position at a height, and where the chain stood then."""

    rows: list[pb.Position]
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
    network: Network,
    product: str,
    height: int,
    on_page: Callable[[int], object] = lambda count: None,
) -> Roster:
    """The roster at a height (0: the latest projected), all pages of one height; `on_page` is told
    how many positions have come.
    """
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    rows: list[pb.Position] = []
    async with open_service(network, provider, maker, MARKET, "registry") as channel:
        stub: RegistryServiceAsyncStub = RegistryServiceStub(channel)
        request = pb.ListPositionsRequest(product_code=product, height=height)
        while True:
            page = await stub.ListPositions(request)
            rows += page.positions
            on_page(len(rows))
            if not page.next_page_token:
                status = await stub.GetStatus(pb.GetStatusRequest())
                return Roster(rows, page.height, status.chain_height)
            request.page_token = page.next_page_token


def _write(rows: list[pb.Position], output: str, file: TextIO) -> None:
    if output == "json":
        print_json([{name: getattr(row, name) for name in COLUMNS} for row in rows], file)
    elif output == "csv":
        write_csv(rows, file)
    else:
        print_table(COLUMNS, [_cells(row) for row in rows], file)


def write_csv(rows: list[pb.Position], file: TextIO) -> None:
    """The roster as market datasets keep it: header line, comma, LF."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row) for row in rows)


def _cells(row: pb.Position) -> list[object]:
    values = [getattr(row, name) for name in COLUMNS]
    return [str(value).lower() if isinstance(value, bool) else value for value in values]
