"""What the gateway refuses by itself; what its chain refuses keeps the chain's code."""

from __future__ import annotations

from services.chassis.errors import (
    FailedPreconditionError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)


class PacketUnknownError(NotFoundError):
    """A packet that the chain has not recorded."""

    def __init__(self, packet: str) -> None:
        super().__init__("PACKET_UNKNOWN", packet=packet)


class PacketNotParkedError(NotFoundError):
    """A packet that is to be resumed and is not set aside."""

    def __init__(self, destination: str, port: str, sequence: int) -> None:
        super().__init__("PACKET_NOT_PARKED", destination=destination, port=port, sequence=sequence)


class ReceiptTooLargeError(TooLargeError):
    """A packet whose receipt alone is more than a message or a transaction may hold."""

    def __init__(self, port: str, sequence: int, cause: str) -> None:
        super().__init__("RECEIPT_TOO_LARGE", port=port, sequence=sequence, cause=cause)


class LinkUnknownError(NotFoundError):
    """A chain that this gateway has no link with."""

    def __init__(self, chain: str) -> None:
        super().__init__("CLIENT_UNKNOWN", chain=chain)


class OtherOrganisationError(ForbiddenError):
    """A gateway that fetches the calls to another organisation's."""

    def __init__(self, organisation: str) -> None:
        super().__init__("ORGANISATION_MISMATCH", organisation=organisation)


class ChainNotAdmittedError(FailedPreconditionError):
    """A chain that the register shuts out."""

    def __init__(self, chain: str, status: str) -> None:
        super().__init__("CHAIN_NOT_ADMITTED", chain=chain, status=status)


class LinkUnattendedError(UnavailableError):
    """A chain whose gateway fetches nothing."""

    def __init__(self, chain: str) -> None:
        super().__init__("LINK_UNATTENDED", chain=chain)


class CallUnknownError(NotFoundError):
    """An answer to a call that this gateway did not hand out."""

    def __init__(self, chain: str) -> None:
        super().__init__("CALL_UNKNOWN", chain=chain)


class LinkBrokenError(UnavailableError):
    """A stream that was cut off before what it handed out was answered."""

    def __init__(self, chain: str) -> None:
        super().__init__("GM_TLS_LINK_BROKEN", chain=chain)


class DeliveryMalformedError(InvalidError):
    """A delivery that cannot be read."""

    def __init__(self, detail: str) -> None:
        super().__init__("REQUEST_MALFORMED", detail=detail)
