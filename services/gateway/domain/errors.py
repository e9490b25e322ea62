"""What the gateway refuses by itself, or passes on from its chain."""

from __future__ import annotations

from services.chassis.errors import (
    AbortedError,
    ConflictError,
    FailedPreconditionError,
    InvalidError,
    NotFoundError,
    ServiceError,
)


class PacketUnknownError(NotFoundError):
    """A packet that the chain has not recorded."""

    def __init__(self, packet: str) -> None:
        super().__init__("PACKET_UNKNOWN", packet=packet)


class DeliveryMalformedError(InvalidError):
    """A delivery that cannot be read, or is of a chain that this gateway does not know."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail=detail)


class _RefusedError(InvalidError):
    """The chain refused the delivery."""


class _OutOfOrderError(AbortedError):
    """Earlier packets must be delivered first."""


class _ConflictError(ConflictError):
    """Another packet was recorded under this sequence: an alarm."""


class _FrozenError(FailedPreconditionError):
    """The light client of the source chain is frozen."""


def refusal_of_chain(code: str, detail: str) -> ServiceError:
    """The error for a code with which the chain refused a relay transaction."""
    kinds: dict[str, type[ServiceError]] = {
        "PACKET_OUT_OF_ORDER": _OutOfOrderError,
        "PREDECESSOR_MISSING": _OutOfOrderError,
        "TRANSACTION_EXPIRED": _OutOfOrderError,
        "HEIGHT_UNKNOWN": _OutOfOrderError,
        "PACKET_CONFLICT": _ConflictError,
        "CLIENT_FROZEN": _FrozenError,
    }
    return kinds.get(code, _RefusedError)(code, detail=detail)
