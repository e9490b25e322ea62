"""The platform's gRPC door: parse, call a handler, build the reply. It decides nothing."""

from __future__ import annotations

from typing import Final

from guqiao.enablement.v1 import enablement_service_pb2 as pb
from guqiao.enablement.v1 import enablement_service_pb2_grpc as pb_grpc
from guqiao_sdk.client.transactions import result_to_message, transaction_from_message
from guqiao_sdk.proof.canonical import MalformedError
from services.chassis.grpc_server import ANY_ROLE, Policy
from services.enablement.domain.service import Service, TransactionMalformedError
from services.enablement.handlers import Handlers

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
_SERVICE: Final = "/guqiao.enablement.v1.EnablementService"
POLICIES: Final = {
    f"{_SERVICE}/RegisterService": Policy(ANY_ROLE),
    f"{_SERVICE}/GetService": Policy(ANY_ROLE),
    f"{_SERVICE}/ListServices": Policy(ANY_ROLE),
}


class EnablementServicer(pb_grpc.EnablementServiceServicer):
    """Translates between protobuf and the handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def RegisterService(
        self, request: pb.RegisterServiceRequest, context: object
    ) -> pb.RegisterServiceResponse:
        try:
            transaction = transaction_from_message(request.transaction)
        except MalformedError as error:
            raise TransactionMalformedError(str(error)) from error
        result = await self._handlers.register_service(transaction)
        return pb.RegisterServiceResponse(result=result_to_message(result))

    async def GetService(
        self, request: pb.GetServiceRequest, context: object
    ) -> pb.GetServiceResponse:
        return pb.GetServiceResponse(
            service=_to_message(await self._handlers.get_service(request.name))
        )

    async def ListServices(
        self, request: pb.ListServicesRequest, context: object
    ) -> pb.ListServicesResponse:
        size = min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        page, following = await self._handlers.list_services(request.page_token, size)
        return pb.ListServicesResponse(
            services=[_to_message(service) for service in page], next_page_token=following
        )


def _to_message(service: Service) -> pb.Service:
    return pb.Service(
        descriptor=pb.ServiceDescriptor(
            name=service.name,
            description=service.description,
            interface=service.interface,
            permission=service.permission,
            endpoint=service.endpoint,
        ),
        publisher=service.publisher,
        state=service.state,
        height=service.height,
        transaction_id=service.transaction_id,
    )
