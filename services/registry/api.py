"""The registry's gRPC door: parse, call a handler, build the reply. It decides nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1 import registry_service_pb2_grpc as pb_grpc
from guqiao_sdk.client.transactions import result_to_message, transaction_from_message
from guqiao_sdk.proof.canonical import MalformedError, digest
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import FieldViolation, InvalidError, ServiceError
from services.chassis.grpc_server import ANY_ROLE, Policy, StreamItems, caller, to_rpc_status
from services.registry.domain.errors import PageTokenInvalidError
from services.registry.domain.statements import Investor
from services.registry.handlers import Handlers
from services.registry.store import PositionRow
from services.registry.stream import Item, ItemOutcome

PAGE_SIZE_DEFAULT: Final = 500
PAGE_SIZE_MAX: Final = 2_000
PAGE_TOKEN_LENGTH_MAX: Final = 2 * 1024 * 1024
"""It names the last position of a page, whose names may be as long as a transaction allows."""

INVESTORS_MAX: Final = 200
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

READERS: Final = (
    "observer",
    "operator_maker",
    "operator_checker",
    "registration_institution",
    "market_admin",
    "supervisor",
)
_SERVICE: Final = "/guqiao.registry.v1.RegistryService"
POLICIES: Final = {
    f"{_SERVICE}/SubmitOperation": Policy(ANY_ROLE),
    f"{_SERVICE}/SubmitOperations": Policy(ANY_ROLE, StreamItems.TRANSACTIONS),
    f"{_SERVICE}/PutInvestors": Policy.of("registration_institution"),
    f"{_SERVICE}/GetOperation": Policy(ANY_ROLE),
    f"{_SERVICE}/ListPositions": Policy.of(*READERS),
    f"{_SERVICE}/GetStatus": Policy(ANY_ROLE),
}


class RegistryServicer(pb_grpc.RegistryServiceServicer):
    """Translates between protobuf and the handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def SubmitOperation(
        self, request: pb.SubmitOperationRequest, context: object
    ) -> pb.SubmitOperationResponse:
        result = await self._handlers.submit(_transaction(request.transaction))
        return pb.SubmitOperationResponse(result=result_to_message(result))

    async def SubmitOperations(
        self, request_iterator: AsyncIterator[pb.SubmitOperationsRequest], context: object
    ) -> AsyncIterator[pb.SubmitOperationsResponse]:
        async def items() -> AsyncIterator[Item]:
            async for request in request_iterator:
                try:
                    yield request.item, _transaction(request.transaction)
                except InvalidError as error:
                    yield request.item, error

        async for outcome in self._handlers.submit_many(items()):
            yield _answer(outcome)

    async def PutInvestors(
        self, request: pb.PutInvestorsRequest, context: object
    ) -> pb.PutInvestorsResponse:
        if len(request.investors) > INVESTORS_MAX:
            raise _invalid("investors", f"{len(request.investors)} rows, at most {INVESTORS_MAX}")
        if not _is_date(request.as_of):
            raise _invalid("as_of", "not a date of the form YYYY-MM-DD")
        statements = await self._handlers.put_investors(
            [_investor(row, index) for index, row in enumerate(request.investors)], request.as_of
        )
        return pb.PutInvestorsResponse(
            statements=[
                pb.InvestorStatement(
                    investor_ref=statement.investor_ref,
                    identity_digest=statement.identity_digest.hex(),
                    identity_valid_from=statement.identity_valid_from or "",
                )
                for statement in statements
            ]
        )

    async def GetOperation(
        self, request: pb.GetOperationRequest, context: object
    ) -> pb.GetOperationResponse:
        row = await self._handlers.get_operation(caller().organisation, request.request_id)
        return pb.GetOperationResponse(
            result=result_to_message(row.result),
            method=row.method,
            anchored=row.anchored,
            object_id=row.object_id,
        )

    async def ListPositions(
        self, request: pb.ListPositionsRequest, context: object
    ) -> pb.ListPositionsResponse:
        height, after = _page_token(request)
        roster = await self._handlers.list_positions(
            height=height,
            product_code=request.product_code,
            after=after,
            page_size=min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
        )
        return pb.ListPositionsResponse(
            positions=[_position(row) for row in roster.positions],
            next_page_token=_next_token(request, roster.height, roster.next_key),
            height=roster.height,
        )

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: object
    ) -> pb.GetStatusResponse:
        status = await self._handlers.get_status()
        return pb.GetStatusResponse(
            projected_height=status.projected_height,
            accepted=status.counts.accepted,
            refused=status.counts.refused,
            anchored=status.counts.anchored,
            methods=status.methods,
            chain_id=status.position.chain_id,
            chain_height=status.position.height,
            block_time_ms=status.position.block_time_ms,
        )


def _transaction(message: ledger_pb2.Transaction) -> SignedTransaction:
    try:
        return transaction_from_message(message)
    except MalformedError as error:
        raise InvalidError("TRANSACTION_MALFORMED", detail=str(error)) from error


def _answer(outcome: ItemOutcome) -> pb.SubmitOperationsResponse:
    if outcome.result is not None:
        return pb.SubmitOperationsResponse(
            item=outcome.item, result=result_to_message(outcome.result)
        )
    assert outcome.error is not None
    status = to_rpc_status(outcome.error)
    return pb.SubmitOperationsResponse(item=outcome.item, error=status.SerializeToString())


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _investor(row: pb.Investor, index: int) -> Investor:
    # References, names and numbers may be anything, empty too: a wrong number is the statement's to
    # tell.
    for field in ("investor_code", "id_type"):
        if not getattr(row, field):
            raise _invalid(f"investors[{index}].{field}", "missing")
    return Investor(row.investor_ref, row.investor_code, row.name, row.id_type, row.id_number)


def _position(row: PositionRow) -> pb.Position:
    return pb.Position(
        account=row.account,
        product_code=row.product_code,
        nature=row.nature,
        total=row.total,
        available=row.available,
        pledged=row.pledged,
        frozen=row.frozen,
        pledged_and_frozen=row.pledged_and_frozen,
        confirmed=row.confirmed,
        restricted_until=row.restricted_until.isoformat() if row.restricted_until else "",
        height=row.from_height,
    )


def _next_token(
    request: pb.ListPositionsRequest, height: int, key: tuple[str, str, str] | None
) -> str:
    if key is None:
        return ""
    names = [_filter_of(request), *key]
    content = json.dumps([height, *names], ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(content).decode()


def _page_token(request: pb.ListPositionsRequest) -> tuple[int, tuple[str, str, str]]:
    """The height and the key after which the page begins."""
    if not request.page_token:
        return request.height, ("", "", "")
    if len(request.page_token) > PAGE_TOKEN_LENGTH_MAX:
        raise PageTokenInvalidError
    try:
        content = json.loads(base64.urlsafe_b64decode(request.page_token))
    except (ValueError, RecursionError) as error:
        raise PageTokenInvalidError from error
    match content:
        case [int(height), str(code), str(account), str(product), str(nature)] if (
            type(height) is int
        ):
            key = account, product, nature
            if height >= 1 and code == _filter_of(request) and all(map(_is_text, key)):
                return height, key
    raise PageTokenInvalidError


def _filter_of(request: pb.ListPositionsRequest) -> str:
    """What the pages are of, in few characters."""
    code = request.product_code
    return digest("guqiao/roster-filter/1", code.encode()).hex() if code else ""


def _is_text(part: str) -> bool:
    """Whether the database can compare with it: no NUL, no lone surrogate."""
    return "\x00" not in part and not any("\ud800" <= character <= "\udfff" for character in part)


def _invalid(field: str, problem: str) -> ServiceError:
    return InvalidError("REQUEST_MALFORMED", violations=[FieldViolation(field, problem)])
