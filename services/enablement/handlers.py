"""What the platform does: pass registrations on as they were signed, and answer queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.chassis.postgres import Pool
from services.enablement import store
from services.enablement.domain.service import (
    Service,
    ServiceUnknownError,
    TransactionMalformedError,
    UnsupportedOperationError,
)

REGISTRATION: Final = ("services", "register_service")


@dataclass(frozen=True, slots=True)
class Handlers:
    """The service market over the regulatory chain."""

    pool: Pool
    client: ChainClient

    async def register_service(self, transaction: SignedTransaction) -> TransactionResult:
        """Pass a publisher's signed registration to the chain and wait until it is final."""
        try:
            payload = parse_payload(transaction.payload)
        except MalformedError as error:
            raise TransactionMalformedError(str(error)) from error
        if (payload.contract, payload.method) != REGISTRATION:
            raise UnsupportedOperationError(f"{payload.contract}.{payload.method}")
        return await self.client.submit(transaction)

    async def get_service(self, name: str) -> Service:
        """One registered service."""
        async with self.pool.acquire() as connection:
            found = await store.find_service(connection, name)
        if found is None:
            raise ServiceUnknownError(name)
        return found

    async def list_services(self, after: str, page_size: int) -> tuple[list[Service], str]:
        """A page by name, and the name after which the next one begins (empty on the last)."""
        async with self.pool.acquire() as connection:
            rows = await store.list_services(connection, after, page_size + 1)
        page = rows[:page_size]
        return page, page[-1].name if len(rows) > page_size else ""
