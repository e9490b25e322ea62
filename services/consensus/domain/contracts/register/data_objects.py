"""The data object that each accepted operation sends to the regulatory chain.

Header and body have the shape of JR/T 0314 and of the public data model; the official JSON schema
is not available, so the model version is the project's own. One operation makes one object, whose
id follows from the transaction; what does not fit a packet goes in parts (`object_parts`). Natural
persons appear by investor code only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.object_parts import Part, body_digest, split_body
from guqiao_sdk.proof.packet import PACKET_PAYLOAD_BYTES_MAX
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import long_text
from services.consensus.domain.contracts.register.changes import PositionChange
from services.consensus.domain.contracts.register.operation import Evidence, Operation
from services.consensus.domain.contracts.register.records import Account, Company, Product

PORT: Final = "data_object"
PROTOCOL: Final = "区域性股权市场跨链业务数据模型"
MODEL_VERSION: Final = "guqiao-1"
OBJECT_ID_LENGTH_MAX: Final = 128
FIRST_VERSION: Final = 0

TEXT_BYTES_MAX: Final = 4_096
"""A longer text is named by its digest: the operation that people signed holds it whole."""

HEADER_BYTES_MAX: Final = 3_072
"""A header with two seals and the facts of a part."""

BODY_BYTES_MAX: Final = PACKET_PAYLOAD_BYTES_MAX - HEADER_BYTES_MAX
"""A larger body goes in parts of at most this size."""

_ASSET_TYPE: Final = "equity"
_ASSET_UNIT: Final = "share"


def object_id(operation: Operation, content_type: str) -> str:
    """Return the id of the operation's data object."""
    name = f"{operation.market.chain_name}:{content_type}:{operation.host.transaction_id()}"
    assert len(name) <= OBJECT_ID_LENGTH_MAX
    return name


def reference(identifier: str) -> str:
    """Return a reference to the first version of an object."""
    return f"{identifier}/{FIRST_VERSION}"


def send(operation: Operation, content_type: str, body: dict[str, Json]) -> None:
    """Send the operation's object, whole or in parts; the host adds the seals."""
    host: Host = operation.host
    whole = {name: _without_long_texts(value) for name, value in body.items()}
    if len(canonical_json(whole)) <= BODY_BYTES_MAX:
        host.send_packet(PORT, {"header": _header(operation, content_type), "body": whole})
        return
    first, hashed = object_id(operation, content_type), body_digest(whole)
    bodies = split_body(whole, bytes_max=BODY_BYTES_MAX)
    for number, part_body in enumerate(bodies, start=1):
        part = Part(first, number, len(bodies), hashed)
        host.send_packet(
            PORT, {"header": _header(operation, content_type, part), "body": part_body}
        )


def _header(operation: Operation, content_type: str, part: Part | None = None) -> dict[str, Json]:
    """Make the header of an object; the parts after the first have ids that follow from its id."""
    identifier = object_id(operation, content_type)
    metadata: dict[str, Json] = {"event": operation.event_key, "business_time": operation.time}
    if part is not None:
        metadata["part"] = part.to_json()
        if part.number > 1:
            identifier = f"{identifier}:{part.number}"
    return {
        "model": {"protocol": PROTOCOL, "version": MODEL_VERSION},
        "content": {
            "type": content_type,
            "object_id": identifier,
            "version": FIRST_VERSION,
            "operation": "create",
            "timestamp": operation.unix_seconds,
        },
        "remark": "",
        "seal": [],
        "metadata": metadata,
    }


def _without_long_texts(value: Json) -> Json:
    if isinstance(value, str):
        is_long = len(value.encode()) > TEXT_BYTES_MAX
        return f"sm3:{long_text.digest_of(value)}" if is_long else value
    if isinstance(value, list):
        return [_without_long_texts(element) for element in value]
    if isinstance(value, dict):
        return {name: _without_long_texts(member) for name, member in value.items()}
    return value


def documents(evidence: Iterable[Evidence]) -> list[Json]:
    """List the digests of the evidence; the documents stay off chain."""
    return [
        {"file_name": document.kind, "hash_algo": "SM3", "hash": document.digest}
        for document in evidence
    ]


def subject(row: dict[str, Json], operation: Operation, evidence: Iterable[Evidence]) -> Json:
    """Describe a company, whose row is public."""
    general: dict[str, Json] = {
        "subject_id": "",
        "subject_type": 1,
        "subject_main_administrative_region": row["region"],
        "subject_create_time": operation.time,
    }
    description: dict[str, Json] = {
        "subject_company_name": row["name"],
        "subject_company_code": row["company_code"],
        "subject_company_type": row["form"],
        "subject_scale_type": row["scale"],
        "subject_industry": row["industry"],
        "subject_layer": row["layer"],
        "subject_registered_capital": row["registered_capital_fen"],
        "subject_registered_capital_currency": operation.market.currency,
        "subject_registry_date": row["established_on"],
        "subject_document_information": [{"type": "uscc", "code": row["uscc"]}],
        "subject_association_articles": documents(evidence),
    }
    return {
        "basic_information_subject": {"general_information_subject": general},
        "organization_subject_information": {
            "basic_information_of_enterprise": {"basic_information_description": description}
        },
    }


def account_information(
    account: Account, operation: Operation, evidence: Iterable[Evidence]
) -> Json:
    """Describe a securities account; its holder is named by DID."""
    return {
        "basic_account_information": {
            "account_subject_ref": f"did:rem:{operation.market.chain_name}:{account.code}",
            "account_number": account.code,
            "account_type": 1,
            "account_status": account.status,
            "account_create_time": operation.time,
        },
        "account_cycle_information": {
            "account_opening_information": {
                "account_opening_date": operation.day,
                "account_opening_doc": documents(evidence),
            }
        },
    }


def product_information(
    row: dict[str, Json], company: Company, product: Product, operation: Operation
) -> Json:
    """Describe an equity product at its registration."""
    return {
        "essential_information": {
            "basic_product_information": {
                "product_issuer_subject_ref": reference(company.object_id),
                "product_code": product.code,
                "product_name": row["name"],
                "product_name_abbreviation": row["short_name"],
                "product_account_number_max": operation.market.holder_cap,
                "product_scale_unit": _ASSET_UNIT,
                "product_scale_currency": row["currency"],
                "product_scale": product.registered_total,
                "product_par_value": row["par_value_fen"],
                "product_create_time": operation.time,
            }
        }
    }


def roster(
    product: Product,
    accounts: dict[str, Account | None],
    changes: Iterable[PositionChange],
    operation: Operation,
) -> Json:
    """Describe the register of a product's holders: the roster branch, and only that."""
    holders: list[Json] = []
    for change in changes:
        account = accounts[change.account]
        assert account is not None
        holders.append(
            {
                "register_shareholder_account_ref": reference(account.object_id),
                "register_shareholder_account": change.account,
                "register_shareholding_nature": change.nature,
                "register_shareholding_number": change.after.total,
                "register_authentic_right_recognition_status": change.after.confirmed,
                "register_restricted_until": change.after.restricted_until,
            }
        )
    return {
        "register_basic_information": {
            "register_object_type": 2,
            "register_event_type": operation.event_key,
        },
        "roll_records": {
            "basic_information_roster": {
                "register_product_ref": reference(product.object_id),
                "register_list_asset_type": _ASSET_TYPE,
                "register_list_date": operation.day,
                "register_list_total": product.registered_total,
            },
            "register_shareholders": holders,
        },
    }


def rights(
    product: Product,
    accounts: dict[str, Account | None],
    changes: Iterable[PositionChange],
    operation: Operation,
) -> Json:
    """Describe changed rights: the rights branch, a row a position, after = before + change.

    The rows share one transaction reference: the object itself.
    """
    transaction = reference(object_id(operation, "registration"))
    rows: list[Json] = []
    for number, change in enumerate(changes, start=1):
        account = accounts[change.account]
        assert account is not None
        description: dict[str, Json] = {
            "register_serial_number": f"{operation.host.transaction_id()}-{number}",
            "register_time": operation.time,
            "register_subject_account_ref": reference(account.object_id),
            "register_subject_account": change.account,
            "register_asset_type": _ASSET_TYPE,
            "register_asset_unit": _ASSET_UNIT,
            "register_asset_currency": operation.market.currency,
            "register_transaction_ref": transaction,
            "register_product_ref": reference(product.object_id),
            "register_create_time": operation.time,
            "register_authentic_right_recognition_status": change.after.confirmed,
        }
        rows.append({"basic_information_description": description, **_balances(change)})
    return {
        "register_basic_information": {
            "register_object_type": 1,
            "register_event_type": operation.event_key,
        },
        "registration_rights": {"basic_information_rights": rows},
    }


def _balances(change: PositionChange) -> dict[str, Json]:
    before, after = change.before, change.after
    return {
        "total_registration": _balance("asset_total", before.total, after.total),
        "available_registration": _balance("asset", before.available, after.available),
        "pledge_registration": _balance("pledge", before.pledged, after.pledged),
        "freezing_registration": _balance("frozen", before.frozen, after.frozen),
        "description_status_information": {
            "register_holding_nature": change.nature,
            "register_restricted_until": after.restricted_until,
        },
    }


def _balance(kind: str, before: int, after: int) -> Json:
    return {
        f"register_{kind}_balance_change": after - before,
        f"register_{kind}_balance_before": before,
        f"register_{kind}_balance_after": after,
    }
