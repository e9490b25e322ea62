"""What the registry does, one method a use case.

Operations go to the chain as they were signed: this service's own key moves no share. What it
decides itself is only what needs data that is not on chain, and whether an operation is built at
all.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import ChainPosition, TransactionResult
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import MalformedError, digest
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.chassis import outbox
from services.chassis.block_feed import projected_height
from services.chassis.errors import InvalidError
from services.chassis.postgres import Connection, Pool
from services.registry import register_store, store
from services.registry.domain.errors import (
    HeightNotProjectedError,
    HeightUnknownError,
    ProductUnknownError,
    ReferenceConflictError,
    RequestUnknownError,
    UnsupportedOperationError,
)
from services.registry.domain.statements import Investor, Statement, state
from services.registry.events import operation_submitted
from services.registry.stream import Item, ItemOutcome, OperationStream

CONTRACT: Final = "register"
OPTIONS_SECONDS_MAX: Final = 30.0
CHAIN_SECONDS_MAX: Final = 2.0
PAGE_NAME_BYTES_MAX: Final = 1024 * 1024
"""A page and the token of the next one go through one message, however long the names are."""


Row = TypeVar("Row")
Key = TypeVar("Key", contravariant=True)


class _Read(Protocol[Key, Row]):
    """A list of the read model: rows after a key, and whether there are more of them."""

    async def __call__(
        self,
        connection: Connection,
        *,
        height: int,
        product_code: str,
        after: Key,
        limit: int,
        name_bytes_max: int,
    ) -> tuple[list[Row], bool]:
        """Read one page."""
        ...


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows of a list at one height, and whether there are more after them."""

    rows: list[Row]
    height: int
    has_more: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How far the read model is, and where the chain stands."""

    projected_height: int
    counts: store.Counts
    methods: tuple[str, ...]
    position: ChainPosition


@dataclass(slots=True)
class Handlers:
    """`identity_key` is 32 bytes (HMAC-SM3), `body_key` 16 bytes (SM4). `announced` is set after
    every commit to the outbox.
    """

    pool: Pool
    client: ChainClient
    provider: GmProvider
    identity_key: bytes
    body_key: bytes
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    _methods: tuple[float, frozenset[str]] | None = None

    async def submit(self, transaction: SignedTransaction) -> TransactionResult:
        """Pass one signed operation to the chain and wait until it is final."""
        await self._require_built(transaction)
        await self._announce([transaction])
        return await self.client.submit(transaction)

    def submit_many(self, items: AsyncIterator[Item]) -> AsyncIterator[ItemOutcome]:
        """Pass a stream of operations on; answers come as they become final."""
        return OperationStream(self.client, self._require_built, self._announce).run(items)

    async def put_investors(self, investors: Sequence[Investor], as_of: str) -> list[Statement]:
        """Keep the bodies, sealed, and state what may be on chain of each."""
        statements = []
        async with self.pool.acquire() as connection, connection.transaction():
            for investor in investors:
                statement = state(investor, key=self.identity_key, as_of=as_of)
                await self._keep_body(connection, investor, statement.identity_digest)
                statements.append(statement)
        return statements

    async def get_operation(self, organisation: str, request_id: str) -> store.OperationRow:
        """The outcome of a request of the caller's organisation."""
        async with self.pool.acquire() as connection:
            row = await store.find_operation(connection, organisation, request_id)
        if row is None:
            raise RequestUnknownError(request_id)
        return row

    async def list_positions(
        self, *, height: int, product_code: str, after: tuple[str, str, str], page_size: int
    ) -> Page[register_store.PositionRow]:
        """One page of the roster at a height; 0 means the latest projected height."""
        read = register_store.list_positions
        return await self._page(read, height, product_code, after, page_size)

    async def list_encumbrances(
        self, *, height: int, product_code: str, after: tuple[str, str], page_size: int
    ) -> Page[register_store.EncumbranceRow]:
        """One page of the freezes and pledges as at a height; 0 means the latest projected one."""
        read = register_store.list_encumbrances
        return await self._page(read, height, product_code, after, page_size)

    async def list_dividends(
        self, *, height: int, product_code: str, after: tuple[int, int, int], page_size: int
    ) -> Page[register_store.DividendRow]:
        """One page of the payable lists up to a height; 0 means the latest projected one."""
        read = register_store.list_dividends
        return await self._page(read, height, product_code, after, page_size)

    async def get_status(self) -> Status:
        """How far the read model has come, what is built, and where the chain stands."""
        async with self.pool.acquire() as connection:
            height = await projected_height(connection, self.client.chain_id)
            counts = await store.count_operations(connection)
        methods = await self._built_methods()
        return Status(height, counts, tuple(sorted(methods)), await self.client.latest())

    async def _page(
        self, read: _Read[Key, Row], height: int, product_code: str, after: Key, page_size: int
    ) -> Page[Row]:
        """Read rows and what they are of at one moment of the read model."""
        if height:
            await self._require_projected(height)
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            at = height or await projected_height(connection, self.client.chain_id)
            rows, has_more = await read(
                connection,
                height=at,
                product_code=product_code,
                after=after,
                limit=page_size,
                name_bytes_max=PAGE_NAME_BYTES_MAX,
            )
            if product_code and not rows:
                await _require_registered(connection, product_code, at)
        return Page(rows, at, has_more)

    async def _require_projected(self, height: int) -> None:
        async with self.pool.acquire() as connection:
            projected = await projected_height(connection, self.client.chain_id)
        if height > projected:
            certified = height  # Without the chain nobody can tell the two apart.
            with suppress(GuqiaoError, TimeoutError):
                async with asyncio.timeout(CHAIN_SECONDS_MAX):
                    certified = (await self.client.latest()).height
            if height > certified:
                raise HeightUnknownError(height, certified)
            raise HeightNotProjectedError(height, projected)

    async def _announce(self, transactions: Sequence[SignedTransaction]) -> None:
        """Record in the outbox that these operations go to the chain now, in the current trace."""
        if not transactions:
            return
        events = [operation_submitted(transaction.id()) for transaction in transactions]
        async with self.pool.acquire() as connection, connection.transaction():
            await outbox.append(connection, *events)
        self.announced.set()

    async def _require_built(self, transaction: SignedTransaction) -> None:
        try:
            payload = parse_payload(transaction.payload)
        except MalformedError as error:
            raise InvalidError("TRANSACTION_MALFORMED", detail=str(error)) from error
        if payload.contract != CONTRACT or payload.method not in await self._built_methods():
            raise UnsupportedOperationError(f"{payload.contract}.{payload.method}")

    async def _built_methods(self) -> frozenset[str]:
        """The register's methods that the chain says are active; asked anew now and then."""
        now = asyncio.get_running_loop().time()
        if self._methods is None or now - self._methods[0] > OPTIONS_SECONDS_MAX:
            operations = await self.client.get_operations()
            prefix = f"{CONTRACT}."
            names = {name.removeprefix(prefix) for name in operations if name.startswith(prefix)}
            self._methods = now, frozenset(names)
        return self._methods[1]

    async def _keep_body(
        self, connection: Connection, investor: Investor, identity_digest: bytes
    ) -> None:
        body, salt, nonce = investor.encode(), secrets.token_bytes(16), secrets.token_bytes(12)
        reference = investor.investor_ref.encode()
        sealed = self.provider.sm4_gcm_encrypt(self.body_key, nonce, body, reference)
        kept = await store.insert_body(
            connection,
            store.SealedBody(
                investor_ref=investor.investor_ref,
                investor_code=investor.investor_code,
                identity_digest=identity_digest,
                body_digest=digest("guqiao/investor-body-digest/1", salt, body),
                salt=salt,
                nonce=nonce,
                sealed=sealed,
            ),
        )
        if kept is None or kept.body_digest != digest(
            "guqiao/investor-body-digest/1", kept.salt, body
        ):
            raise ReferenceConflictError(investor.investor_ref)


async def _require_registered(connection: Connection, product_code: str, height: int) -> None:
    if not await register_store.is_registered(connection, product_code, height):
        raise ProductUnknownError(product_code)
