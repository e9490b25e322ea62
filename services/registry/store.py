"""The registry's SQL: one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import asyncpg

from guqiao_sdk.client.transactions import TransactionResult, parse_detail
from guqiao_sdk.proof.receipt import Outcome
from services.chassis.postgres import Connection


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
class OperationRow:
    """An operation that the chain executed, by its request."""

    organisation: str
    request_id: str
    contract: str
    method: str
    result: TransactionResult
    detail: bytes
    object_id: str
    packet_sequence: int | None
    anchored: bool


@dataclass(frozen=True, slots=True)
class SealedBody:
    """An investor's body as it is kept: sealed, with digests to recognise it by."""

    investor_ref: str
    investor_code: str
    identity_digest: bytes
    body_digest: bytes
    salt: bytes
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Counts:
    """How the operations of the register stand."""

    accepted: int
    refused: int
    anchored: int


async def end_position(connection: Connection, key: tuple[str, str, str], height: int) -> None:
    """Let the position's current row hold no longer from `height` on;

    a row of that height is replaced.
    """
    await connection.execute(
        """
        DELETE FROM positions
        WHERE account = $1 AND product_code = $2 AND nature = $3 AND from_height = $4
        """,
        *key,
        height,
    )
    await connection.execute(
        """
        UPDATE positions SET to_height = $4
        WHERE account = $1 AND product_code = $2 AND nature = $3 AND to_height IS NULL
        """,
        *key,
        height,
    )


async def insert_position(connection: Connection, row: PositionRow) -> None:
    """Add a position's row that holds from its height on."""
    await connection.execute(
        """
        INSERT INTO positions (account, product_code, nature, from_height, total, available,
                               pledged, frozen, pledged_and_frozen, confirmed, restricted_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
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


async def list_positions(
    connection: Connection,
    *,
    height: int,
    product_code: str,
    after: tuple[str, str, str],
    limit: int,
) -> list[PositionRow]:
    """The positions that hold at `height`, after a key, by account, product and nature in code
    point order.
    """
    rows = await connection.fetch(
        """
        SELECT account, product_code, nature, from_height, total, available, pledged, frozen,
               pledged_and_frozen, confirmed, restricted_until
        FROM positions
        WHERE from_height <= $1 AND (to_height IS NULL OR to_height > $1)
          AND ($2 = '' OR product_code = $2)
          AND (account COLLATE "C", product_code COLLATE "C", nature COLLATE "C") > ($3, $4, $5)
        ORDER BY account COLLATE "C", product_code COLLATE "C", nature COLLATE "C"
        LIMIT $6
        """,
        height,
        product_code,
        *after,
        limit,
    )
    return [PositionRow(**dict(row)) for row in rows]


async def insert_operation(connection: Connection, row: OperationRow) -> None:
    """Add an operation;

    its first outcome stays, a later transaction of the same request changes nothing.
    """
    result = row.result
    await connection.execute(
        """
        INSERT INTO operations (organisation, request_id, transaction_id, contract, method, outcome,
                                code, detail, height, position, header_hash, object_id,
                                packet_sequence)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (organisation, request_id) DO NOTHING
        """,
        row.organisation,
        row.request_id,
        result.transaction_id,
        row.contract,
        row.method,
        int(result.outcome),
        result.code,
        row.detail,
        result.height,
        result.index,
        result.header_hash,
        row.object_id,
        row.packet_sequence,
    )


async def mark_anchored(connection: Connection, packet_sequence: int, height: int) -> None:
    """Note that the acknowledgement of the operation's data object is on the chain."""
    await connection.execute(
        """
        UPDATE operations SET anchored_height = $2
        WHERE packet_sequence = $1 AND anchored_height IS NULL
        """,
        packet_sequence,
        height,
    )


async def find_operation(
    connection: Connection, organisation: str, request_id: str
) -> OperationRow | None:
    """The operation of a request, if the read model knows it."""
    row = await connection.fetchrow(
        """
        SELECT organisation, request_id, transaction_id, contract, method, outcome, code, detail,
               height, position, header_hash, object_id, packet_sequence, anchored_height
        FROM operations WHERE organisation = $1 AND request_id = $2
        """,
        organisation,
        request_id,
    )
    return None if row is None else _operation(row)


async def count_operations(connection: Connection) -> Counts:
    """Operations of the register contract that send data objects or were refused by a rule."""
    row = await connection.fetchrow(
        """
        SELECT count(*) FILTER (WHERE code = '' AND packet_sequence IS NOT NULL) AS accepted,
               count(*) FILTER (WHERE code <> '') AS refused,
               count(*) FILTER (WHERE anchored_height IS NOT NULL) AS anchored
        FROM operations WHERE contract = 'register'
        """
    )
    assert row is not None
    return Counts(row["accepted"], row["refused"], row["anchored"])


async def insert_body(connection: Connection, body: SealedBody) -> SealedBody | None:
    """Keep a body, and return what is kept under its reference: this one, or an earlier one. None
    when its investor code belongs to another reference.
    """
    await connection.execute(
        """
        INSERT INTO investor_bodies (investor_ref, investor_code, identity_digest, body_digest,
                                     salt, nonce, sealed)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT DO NOTHING
        """,
        body.investor_ref,
        body.investor_code,
        body.identity_digest,
        body.body_digest,
        body.salt,
        body.nonce,
        body.sealed,
    )
    kept = await find_bodies(connection, [body.investor_ref])
    return kept[0] if kept else None


async def find_bodies(connection: Connection, references: Sequence[str]) -> list[SealedBody]:
    """The bodies kept under these references."""
    rows = await connection.fetch(
        """
        SELECT investor_ref, investor_code, identity_digest, body_digest, salt, nonce, sealed
        FROM investor_bodies WHERE investor_ref = ANY($1) ORDER BY investor_ref
        """,
        list(references),
    )
    return [SealedBody(**dict(row)) for row in rows]


def _operation(row: asyncpg.Record) -> OperationRow:
    return OperationRow(
        organisation=row["organisation"],
        request_id=row["request_id"],
        contract=row["contract"],
        method=row["method"],
        result=TransactionResult(
            transaction_id=row["transaction_id"],
            outcome=Outcome(row["outcome"]),
            code=row["code"],
            detail=parse_detail(row["detail"]),
            replay_of=b"",
            height=row["height"],
            index=row["position"],
            header_hash=row["header_hash"],
        ),
        detail=row["detail"],
        object_id=row["object_id"],
        packet_sequence=row["packet_sequence"],
        anchored=row["anchored_height"] is not None,
    )
