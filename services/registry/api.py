"""The registry's gRPC door: parse, call a handler, build the reply. It decides nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import date
from typing import Final, TypeAlias, TypeVar

from guqiao.consensus.v1 import ledger_pb2
from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1 import registry_service_pb2_grpc as pb_grpc
from guqiao_sdk.client.transactions import result_to_message, transaction_from_message
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import FieldViolation, InvalidError, ServiceError
from services.chassis.grpc_server import ANY_ROLE, Policy, StreamItems, caller, to_rpc_status
from services.registry.domain.encumbrances import status_of
from services.registry.domain.page_tokens import Key, read_page_token, write_page_token
from services.registry.domain.statements import Investor
from services.registry.handlers import Handlers, Page
from services.registry.register_store import DividendRow, EncumbranceRow, PositionRow
from services.registry.stream import Item, ItemOutcome

PAGE_SIZE_DEFAULT: Final = 500
PAGE_SIZE_MAX: Final = 2_000
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
    f"{_SERVICE}/ListEncumbrances": Policy.of(*READERS),
    f"{_SERVICE}/ListDividends": Policy.of(*READERS),
    f"{_SERVICE}/GetStatus": Policy(ANY_ROLE),
}


_ListRequest: TypeAlias = (
    pb.ListPositionsRequest | pb.ListEncumbrancesRequest | pb.ListDividendsRequest
)
_Listed = TypeVar("_Listed", PositionRow, EncumbranceRow, DividendRow)


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
            report_code=row.report_code,
        )

    async def ListPositions(
        self, request: pb.ListPositionsRequest, context: object
    ) -> pb.ListPositionsResponse:
        height, after = _first_of(request, ("", "", ""))
        page = await self._handlers.list_positions(
            height=height,
            product_code=request.product_code,
            after=after,
            page_size=_page_size(request),
        )
        return pb.ListPositionsResponse(
            positions=[_position(row) for row in page.rows],
            next_page_token=_next_token(request, page),
            height=page.height,
        )

    async def ListEncumbrances(
        self, request: pb.ListEncumbrancesRequest, context: object
    ) -> pb.ListEncumbrancesResponse:
        height, after = _first_of(request, ("", ""))
        page = await self._handlers.list_encumbrances(
            height=height,
            product_code=request.product_code,
            after=after,
            page_size=_page_size(request),
        )
        return pb.ListEncumbrancesResponse(
            encumbrances=[_encumbrance(row) for row in page.rows],
            next_page_token=_next_token(request, page),
            height=page.height,
        )

    async def ListDividends(
        self, request: pb.ListDividendsRequest, context: object
    ) -> pb.ListDividendsResponse:
        height, after = _first_of(request, (0, 0, 0))
        page = await self._handlers.list_dividends(
            height=height,
            product_code=request.product_code,
            after=after,
            page_size=_page_size(request),
        )
        return pb.ListDividendsResponse(
            rows=[_dividend_row(row) for row in page.rows],
            next_page_token=_next_token(request, page),
            height=page.height,
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
            reports_refused=status.counts.reports_refused,
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


def _encumbrance(row: EncumbranceRow) -> pb.Encumbrance:
    return pb.Encumbrance(
        number=row.number,
        kind=row.kind,
        account=row.account,
        product_code=row.product_code,
        nature=row.nature,
        registered=row.registered,
        effective=row.effective,
        waiting=row.waiting,
        status=status_of(effective=row.effective, waiting=row.waiting),
        height=row.from_height,
    )


def _dividend_row(row: DividendRow) -> pb.DividendRow:
    return pb.DividendRow(
        dividend_no=row.dividend_no,
        product_code=row.product_code,
        account=row.account,
        nature=row.nature,
        shares=row.shares,
        amount_fen=row.amount_fen,
        status=row.status,
        height=row.height,
    )


def _first_of(request: _ListRequest, first: Key) -> tuple[int, Key]:
    """The height of a page, and the key after which it begins; `first` is before all keys."""
    if not request.page_token:
        return request.height, first
    return read_page_token(request.page_token, request.product_code, first)


def _page_size(request: _ListRequest) -> int:
    return min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def _next_token(request: _ListRequest, page: Page[_Listed]) -> str:
    if not page.has_more:
        return ""
    return write_page_token(page.height, request.product_code, page.rows[-1].key)


def _invalid(field: str, problem: str) -> ServiceError:
    return InvalidError("REQUEST_MALFORMED", violations=[FieldViolation(field, problem)])
