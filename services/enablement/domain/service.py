"""A service of the market as registered (SM-5), and what the platform refuses by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.chassis.errors import InvalidError, NotFoundError, UnimplementedError

REGISTERED: Final = "REGISTERED"


@dataclass(frozen=True, slots=True)
class Service:
    """The five required fields (G2-22-4), the publisher, and where it was registered."""

    name: str
    description: str
    interface: str
    permission: str
    endpoint: str
    publisher: str
    state: str
    height: int
    transaction_id: bytes


class ServiceUnknownError(NotFoundError):
    """A service that is not registered."""

    def __init__(self, name: str) -> None:
        super().__init__("SERVICE_UNKNOWN", name=name)


class UnsupportedOperationError(UnimplementedError):
    """An operation that the platform does not offer."""

    def __init__(self, method: str) -> None:
        super().__init__("UNSUPPORTED_OPERATION", method=method)


class TransactionMalformedError(InvalidError):
    """A transaction that cannot be read."""

    def __init__(self, detail: str) -> None:
        super().__init__("TRANSACTION_MALFORMED", detail=detail)
