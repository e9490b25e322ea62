"""What the gateway refuses by itself; what its chain refuses keeps the chain's code."""

from __future__ import annotations

from services.chassis.errors import InvalidError, NotFoundError


class PacketUnknownError(NotFoundError):
    """A packet that the chain has not recorded."""

    def __init__(self, packet: str) -> None:
        super().__init__("PACKET_UNKNOWN", packet=packet)


class PacketNotParkedError(NotFoundError):
    """A packet that is to be resumed and is not set aside."""

    def __init__(self, destination: str, port: str, sequence: int) -> None:
        super().__init__("PACKET_NOT_PARKED", destination=destination, port=port, sequence=sequence)


class LinkUnknownError(NotFoundError):
    """A chain that this gateway has no link with."""

    def __init__(self, chain: str) -> None:
        super().__init__("CLIENT_UNKNOWN", chain=chain)


class DeliveryMalformedError(InvalidError):
    """A delivery that cannot be read."""

    def __init__(self, detail: str) -> None:
        super().__init__("REQUEST_MALFORMED", detail=detail)
