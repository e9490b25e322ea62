"""What the registry refuses by itself; everything else is the chain's outcome."""

from __future__ import annotations

from services.chassis.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidError,
    NotFoundError,
    UnimplementedError,
)


class UnsupportedOperationError(UnimplementedError):
    """An operation of the register that is not built."""

    def __init__(self, method: str) -> None:
        super().__init__("UNSUPPORTED_OPERATION", method=method)


class HeightUnknownError(NotFoundError):
    """A height that the chain has not reached."""

    def __init__(self, height: int, latest: int) -> None:
        super().__init__("HEIGHT_UNKNOWN", height=height, latest=latest)


class HeightNotProjectedError(NotFoundError):
    """A height that the chain has reached and the read model has not."""

    def __init__(self, height: int, projected: int) -> None:
        super().__init__("HEIGHT_NOT_PROJECTED", height=height, latest=projected)


class ProductUnknownError(NotFoundError):
    """A product that was not registered at the height that was asked for."""

    def __init__(self, product_code: str) -> None:
        super().__init__("PRODUCT_UNKNOWN", product_code=product_code)


class RequestUnknownError(NotFoundError):
    """A request id that the read model does not know."""

    def __init__(self, request_id: str) -> None:
        super().__init__("TRANSACTION_UNKNOWN", transaction=request_id)


class ReferenceConflictError(ConflictError):
    """An investor that is known with other data."""

    def __init__(self, investor_ref: str) -> None:
        super().__init__("REFERENCE_CONFLICT", reference=investor_ref)


class PageTokenInvalidError(InvalidError):
    """A page token that this service did not give."""

    def __init__(self) -> None:
        super().__init__("PAGE_TOKEN_INVALID")


class RegisterDiffersError(FailedPreconditionError):
    """The read model does not agree with itself, or with the chain."""

    def __init__(self, height: int, count: int) -> None:
        super().__init__("REGISTER_DIFFERS", height=height, count=count)
