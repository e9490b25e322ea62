"""The platform's SQL: one function a statement."""

from __future__ import annotations

from services.chassis.postgres import Connection
from services.enablement.domain.service import Service


async def insert_service(connection: Connection, service: Service) -> None:
    """Add a registered service."""
    await connection.execute(
        """
        INSERT INTO services (name, description, interface, permission, endpoint, publisher, state,
                              height, transaction_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        service.name,
        service.description,
        service.interface,
        service.permission,
        service.endpoint,
        service.publisher,
        service.state,
        service.height,
        service.transaction_id,
    )


async def find_service(connection: Connection, name: str) -> Service | None:
    """A service by its name."""
    row = await connection.fetchrow(
        """
        SELECT name, description, interface, permission, endpoint, publisher, state, height,
               transaction_id
        FROM services WHERE name = $1
        """,
        name,
    )
    return None if row is None else Service(**dict(row))


async def list_services(connection: Connection, after: str, limit: int) -> list[Service]:
    """Services after a name, by name."""
    rows = await connection.fetch(
        """
        SELECT name, description, interface, permission, endpoint, publisher, state, height,
               transaction_id
        FROM services WHERE name COLLATE "C" > $1
        ORDER BY name COLLATE "C" LIMIT $2
        """,
        after,
        limit,
    )
    return [Service(**dict(row)) for row in rows]
