"""What reporting answers: objects by id, lists, and how complete the read model is."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.block_feed import projected_height
from services.chassis.postgres import Pool
from services.reporting import store
from services.reporting.domain.errors import ObjectUnknownError
from services.reporting.domain.records import DataObject, Refusal


@dataclass(frozen=True, slots=True)
class Page:
    """Objects in order; `next_place` is None on the last page."""

    objects: list[DataObject]
    next_place: int | None


@dataclass(frozen=True, slots=True)
class RefusalPage:
    """Refusals in order; `next_place` is None on the last page."""

    refusals: list[Refusal]
    next_place: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """How far the read model is."""

    projected_height: int
    objects: int
    anchored: int
    refused: int


@dataclass(frozen=True, slots=True)
class Handlers:
    """Queries over the read model."""

    pool: Pool
    chain_id: str

    async def get_object(self, object_id: str, version: int) -> DataObject:
        """One version of an object with its provenance."""
        async with self.pool.acquire() as connection:
            found = await store.find_object(connection, object_id, version)
        if found is None:
            raise ObjectUnknownError(object_id, version)
        return found

    async def list_objects(self, content_type: str, after_place: int, page_size: int) -> Page:
        """A page of objects in the order of their recording."""
        async with self.pool.acquire() as connection:
            rows = await store.list_objects(
                connection,
                content_type=content_type,
                after_place=after_place,
                limit=page_size + 1,
            )
        page = rows[:page_size]
        more = len(rows) > page_size
        return Page([item for _, item in page], page[-1][0] if more else None)

    async def list_refusals(
        self, after_place: int, page_size: int, *, open_only: bool
    ) -> RefusalPage:
        """A page of what the regulatory chain did not take."""
        async with self.pool.acquire() as connection:
            rows = await store.list_refusals(
                connection, open_only=open_only, after_place=after_place, limit=page_size + 1
            )
        page = rows[:page_size]
        more = len(rows) > page_size
        return RefusalPage([item for _, item in page], page[-1][0] if more else None)

    async def get_status(self) -> Status:
        """How far the read model has come and how complete it is."""
        async with self.pool.acquire() as connection:
            known, anchored = await store.count_objects(connection)
            refused = await store.count_refusals(connection)
            height = await projected_height(connection, self.chain_id)
            return Status(height, known, anchored, refused)
