"""The registry's SQL for operations and investors: one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from guqiao_sdk.client.transactions import TransactionResult, parse_detail
from guqiao_sdk.proof.receipt import Outcome
from services.chassis.postgres import Connection


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
    packet_count: int
    anchored: bool
    report_code: str


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
    reports_refused: int


async def insert_operation(connection: Connection, row: OperationRow) -> None:
    """Add an operation;

    its first outcome stays, a later transaction of the same request changes nothing.
    """
    result = row.result
    await connection.execute(
        """
        INSERT INTO operations (organisation, request_id, transaction_id, contract, method, outcome,
                                code, detail, height, position, header_hash, object_id,
                                packet_sequence, packet_count)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
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
        row.packet_count,
    )


async def mark_anchored(connection: Connection, packet_sequence: int, height: int) -> None:
    """Note that one acknowledgement is on the chain, which has each once; with that of the last
    packet of an operation the whole of it is anchored.
    """
    await connection.execute(
        """
        UPDATE operations
        SET packets_anchored = packets_anchored + 1,
            anchored_height = CASE WHEN packets_anchored + 1 = packet_count THEN $2::bigint END,
            report_code = CASE WHEN packets_anchored + 1 = packet_count THEN '' ELSE report_code END
        WHERE packet_sequence = (SELECT max(packet_sequence) FROM operations
                                 WHERE packet_sequence <= $1)
          AND packet_sequence + packet_count > $1
        """,
        packet_sequence,
        height,
    )


async def mark_refused(connection: Connection, packet_sequence: int, code: str) -> None:
    """Note that the regulatory chain refused what an operation sent, or a part of it."""
    await connection.execute(
        """
        UPDATE operations SET report_code = $2
        WHERE packet_sequence = (SELECT max(packet_sequence) FROM operations
                                 WHERE packet_sequence <= $1)
          AND packet_sequence + packet_count > $1
        """,
        packet_sequence,
        code,
    )


async def insert_resubmission(connection: Connection, packet_sequence: int, first: int) -> None:
    """Note that an object was sent again that was refused first under another sequence."""
    await connection.execute(
        "INSERT INTO resubmissions (packet_sequence, first_sequence) VALUES ($1, $2)",
        packet_sequence,
        first,
    )


async def first_sequence(connection: Connection, packet_sequence: int) -> int:
    """The sequence under which the object of a packet was sent first."""
    first: int | None = await connection.fetchval(
        "SELECT first_sequence FROM resubmissions WHERE packet_sequence = $1", packet_sequence
    )
    return packet_sequence if first is None else first


async def find_operation(
    connection: Connection, organisation: str, request_id: str
) -> OperationRow | None:
    """The operation of a request, if the read model knows it."""
    row = await connection.fetchrow(
        """
        SELECT organisation, request_id, transaction_id, contract, method, outcome, code, detail,
               height, position, header_hash, object_id, packet_sequence, packet_count,
               anchored_height, report_code
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
               count(*) FILTER (WHERE anchored_height IS NOT NULL) AS anchored,
               count(*) FILTER (WHERE report_code <> '') AS reports_refused
        FROM operations WHERE contract = 'register'
        """
    )
    assert row is not None
    return Counts(row["accepted"], row["refused"], row["anchored"], row["reports_refused"])


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
        FROM investor_bodies
        WHERE text_digest(investor_ref) = ANY(SELECT text_digest(name) FROM unnest($1::text[]) name)
        ORDER BY investor_ref
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
        packet_count=row["packet_count"],
        anchored=row["anchored_height"] is not None,
        report_code=row["report_code"],
    )
