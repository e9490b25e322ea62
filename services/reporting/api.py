"""Reporting's gRPC door: parse, call a handler, build the reply. It decides nothing."""

from __future__ import annotations

from typing import Final

from guqiao.reporting.v1 import reporting_service_pb2 as pb
from guqiao.reporting.v1 import reporting_service_pb2_grpc as pb_grpc
from services.chassis.grpc_server import Policy
from services.reporting.domain.errors import PageTokenInvalidError
from services.reporting.domain.records import DataObject, Refusal
from services.reporting.handlers import Handlers

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
READERS: Final = ("observer", "supervisor", "operator_maker", "operator_checker", "market_admin")
_SERVICE: Final = "/guqiao.reporting.v1.ReportingService"
POLICIES: Final = {
    f"{_SERVICE}/GetDataObject": Policy.of(*READERS),
    f"{_SERVICE}/ListDataObjects": Policy.of(*READERS),
    f"{_SERVICE}/ListRefusals": Policy.of(*READERS),
    f"{_SERVICE}/GetStatus": Policy.of(*READERS),
}


class ReportingServicer(pb_grpc.ReportingServiceServicer):
    """Translates between protobuf and the handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def GetDataObject(
        self, request: pb.GetDataObjectRequest, context: object
    ) -> pb.GetDataObjectResponse:
        found = await self._handlers.get_object(request.object_id, request.version)
        return pb.GetDataObjectResponse(object=found.object, provenance=_provenance(found))

    async def ListDataObjects(
        self, request: pb.ListDataObjectsRequest, context: object
    ) -> pb.ListDataObjectsResponse:
        page = await self._handlers.list_objects(
            request.content_type,
            _place(request.page_token),
            min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
        )
        return pb.ListDataObjectsResponse(
            objects=[
                pb.DataObjectSummary(
                    object_id=item.object_id,
                    version=item.version,
                    content_type=item.content_type,
                    provenance=_provenance(item),
                )
                for item in page.objects
            ],
            next_page_token="" if page.next_place is None else str(page.next_place),
        )

    async def ListRefusals(
        self, request: pb.ListRefusalsRequest, context: object
    ) -> pb.ListRefusalsResponse:
        page = await self._handlers.list_refusals(
            _place(request.page_token),
            min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
            open_only=request.open_only,
        )
        return pb.ListRefusalsResponse(
            refusals=[_refusal(item) for item in page.refusals],
            next_page_token="" if page.next_place is None else str(page.next_place),
        )

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: object
    ) -> pb.GetStatusResponse:
        status = await self._handlers.get_status()
        return pb.GetStatusResponse(
            projected_height=status.projected_height,
            objects=status.objects,
            anchored=status.anchored,
            refused=status.refused,
        )


def _provenance(item: DataObject) -> pb.Provenance:
    return pb.Provenance(
        source_chain=item.source_chain,
        source_height=item.source_height,
        source_transaction_id=item.source_transaction_id,
        packet_sequence=item.packet_sequence,
        recorded_chain=item.recorded.chain,
        recorded_height=item.recorded.height,
        recorded_transaction_id=item.recorded.transaction_id,
        digest=item.digest,
        anchored=item.anchored,
    )


def _refusal(item: Refusal) -> pb.Refusal:
    return pb.Refusal(
        source_chain=item.source_chain,
        packet_sequence=item.packet_sequence,
        object_id=item.object_id or "",
        version=item.version,
        code=item.code,
        detail=item.detail,
        state=item.state,
        resubmits=item.resubmits or 0,
        resubmitted_as=item.resubmitted_as or 0,
        recorded_height=item.recorded_height,
    )


def _place(token: str) -> int:
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise PageTokenInvalidError
    return int(token)
