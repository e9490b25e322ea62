"""Reporting beside each of two chains that are linked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guqiao.reporting.v1 import reporting_service_pb2 as pb
from guqiao.reporting.v1.reporting_service_pb2_grpc import (
    ReportingServiceStub,
    add_ReportingServiceServicer_to_server,
)
from services.reporting.api import POLICIES, ReportingServicer
from services.reporting.app import MIGRATIONS
from services.reporting.consumers import apply_block
from services.reporting.handlers import Handlers
from tests.plugins.link_lab import KEYS, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab
from tests.unit.xchain.ledger_chain import LedgerChain

if TYPE_CHECKING:
    from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceAsyncStub


@dataclass
class Desks:
    """Reporting beside each of the two chains."""

    link: LinkLab
    labs: dict[str, Lab]
    stubs: dict[str, ReportingServiceAsyncStub]

    async def project(self) -> None:
        """Bring both up to their chains' heads, from the first block."""
        for lab in self.labs.values():
            await lab.pool.execute("TRUNCATE data_objects, refusals RESTART IDENTITY")
            await lab.pool.execute("TRUNCATE projected_blocks")
            await lab.project(apply_block)

    async def listed(self, side: str, **fields: object) -> list[pb.DataObjectSummary]:
        """Every object, page by page."""
        request = pb.ListDataObjectsRequest(page_size=2, **fields)  # type: ignore[arg-type]
        found: list[pb.DataObjectSummary] = []
        while True:
            page = await self.stubs[side].ListDataObjects(request)
            found += page.objects
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


@asynccontextmanager
async def open_desks(
    new_database: NewDatabase, *, market: LedgerChain | None = None, packets_version: int = 1
) -> AsyncIterator[Desks]:
    """Reporting on both sides of a link; `market` is the sending chain of a test's own."""
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(
            open_link(new_database, market=market, packets_version=packets_version)
        )
        labs, stubs = {}, {}
        for side in (link.market, link.regulator):
            chain_id = side.node.chain.header.chain_id
            lab = await stack.enter_async_context(
                open_lab(
                    new_database,
                    side.node,
                    side.runtime.identity,
                    KEYS.provider,
                    service="reporting",
                    migrations=MIGRATIONS,
                )
            )
            servicer = ReportingServicer(Handlers(lab.pool, chain_id))
            port = await stack.enter_async_context(
                lab.serving(POLICIES, add_ReportingServiceServicer_to_server, servicer)
            )
            labs[chain_id] = lab
            stubs[chain_id] = ReportingServiceStub(lab.channel(port, side.runtime.identity))
        yield Desks(link, labs, stubs)
