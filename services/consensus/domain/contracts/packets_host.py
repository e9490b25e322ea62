"""What the cross-chain contracts need of the chain beyond `Host`, and how they read a body.

Only system contracts get this host: it checks signatures, reads other contracts' state and, for the
packet ports alone, writes in another contract's namespace within the same call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Terms
from services.consensus.domain.contracts.host import Host, Refusal

RELAYER: Final = "relayer"
NUMBER_BOUND: Final = 1 << 53
CHAIN_LENGTH_MAX: Final = 64

_HEX = re.compile(r"(?:[0-9a-f]{2})+")


@runtime_checkable
class SystemHost(Host, Protocol):
    """The host as system contracts see it."""

    def verify_signature(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether an SM2 signature holds. Any bytes give an answer, never an exception."""
        ...

    def read(self, contract: str, key: str) -> Json | None:
        """Return what `contract` keeps under `key`, writes of this block and call included."""
        ...

    def attempt(self, call: Callable[[], None]) -> Refusal | None:
        """Run `call`; if it refuses, drop its writes, events and packets and return the refusal."""
        ...

    def within(self, contract: str, call: Callable[[], None]) -> None:
        """Run `call` with keys relative to `contract`."""
        ...


@runtime_checkable
class LinkHost(SystemHost, Protocol):
    """The host as the packets contract sees it: it alone sends to any chain."""

    def send_to(
        self, destination: str, port: str, body: Json, terms: Terms, *, sealing: str | None = None
    ) -> int:
        """Send a packet of format 2 to any chain, if the transaction takes effect, and return its
        sequence. The member `sealing` of the body is a data object that gets the seals of those who
        signed the operation.
        """
        ...


def link_host(host: Host) -> LinkHost:
    """Narrow the host for the packets contract."""
    assert isinstance(host, LinkHost)
    return host


def system_host(host: Host) -> SystemHost:
    """Narrow the host; a chain that runs a system contract on a lesser one has a bug."""
    assert isinstance(host, SystemHost)
    return host


def this_chain(host: Host) -> str:
    """Return this chain's id, which genesis wrote for every contract."""
    parameters = host.get("parameters")
    assert isinstance(parameters, dict), "genesis writes the parameters of every contract"
    chain_id = parameters["chain_id"]
    assert isinstance(chain_id, str)
    return chain_id


def regulatory_chain(host: Host) -> str | None:
    """Return the chain that this one reports to, which genesis wrote; None: it is that chain."""
    parameters = host.get("parameters")
    assert isinstance(parameters, dict), "genesis writes the parameters of every contract"
    destination = parameters["destination"]
    assert destination is None or isinstance(destination, str)
    return destination


def require_role(host: Host, role: str) -> None:
    """Refuse a sender without `role` (reliability G34)."""
    sender = host.sender()
    if role not in sender.roles:
        raise Refusal("ROLE_MISSING", sender=sender.did, allowed=[role])


def require_members(body: Mapping[str, Json], path: str, wanted: str) -> None:
    """Refuse a body whose members are not exactly those of `wanted`."""
    for name in sorted(body.keys() ^ set(wanted.split())):
        fault = "unknown" if name in body else "missing"
        raise Refusal("BODY_MALFORMED", field=f"{path}{name[:CHAIN_LENGTH_MAX]}", fault=fault)


def text(value: Json, field: str, length_max: int = CHAIN_LENGTH_MAX) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not 1 <= len(value) <= length_max:
        raise Refusal(
            "BODY_MALFORMED", field=field, fault=f"not a string of 1 to {length_max} characters"
        )
    return value


def natural(value: Json, field: str) -> int:
    """Return an integer from 1: heights and sequences count from there (reliability G14)."""
    if type(value) is not int or not 1 <= value < NUMBER_BOUND:
        raise Refusal("BODY_MALFORMED", field=field, fault="not an integer from 1 to 2^53 - 1")
    return value


def hex_bytes(value: Json, field: str, bytes_max: int) -> bytes:
    """Return the bytes of a lower-case hexadecimal string."""
    if not isinstance(value, str) or len(value) > 2 * bytes_max or not _HEX.fullmatch(value):
        raise Refusal(
            "BODY_MALFORMED", field=field, fault=f"not 1 to {bytes_max} bytes in lower-case hex"
        )
    return bytes.fromhex(value)


def rows(value: Json, field: str, wanted: str, count_max: int) -> Sequence[Mapping[str, Json]]:
    """Return an array of objects with exactly the members of `wanted`."""
    if not isinstance(value, list) or len(value) > count_max:
        raise Refusal(
            "BODY_MALFORMED", field=field, fault=f"not an array of at most {count_max} objects"
        )
    checked: list[Mapping[str, Json]] = []
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise Refusal("BODY_MALFORMED", field=f"{field}[{index}]", fault="not an object")
        require_members(row, f"{field}[{index}].", wanted)
        checked.append(row)
    return checked


def error_acknowledgement(refusal: Refusal) -> dict[str, Json]:
    """What is answered to a packet that was received and not taken."""
    return {
        "code": refusal.code,
        "detail": dict(refusal.fields),
        "object_id": None,
        "version": None,
        "digest": None,
        "transaction_id": None,
    }
