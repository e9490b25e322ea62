"""The node RPC of a chain as it is registered, and what a probe of it has to show (G2-10-2e)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.chain_registry.fields import Fields
from services.consensus.domain.contracts.host import Refusal

ENDPOINTS_MIN: Final = 2
ENDPOINTS_MAX: Final = 16
NETWORK_PATHS: Final = frozenset({"SFN", "LEASED_LINE", "VPN_IPSEC", "VPN_SSL_GM"})
"""证联网, 专线, and the two kinds of VPN (G2-16-2)."""
_TLS: Final = frozenset({"TLS", "TLCP"})
_URL: Final = re.compile(
    r"(?:https|grpcs|tlcp)://(\[[0-9a-f:]+\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
    r":([1-9][0-9]{0,4})(?:/[A-Za-z0-9._/-]{0,128})?"
)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_CLOSED_NETWORKS: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
        *("fc00::/7", "::1/128"),
    )
)
"""Addresses that the internet does not carry."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One full node's RPC."""

    url: str
    host: str
    host_id: str
    node_id: str


def read_endpoints(registration: Fields) -> tuple[Endpoint, ...]:
    """The endpoints: at least two, on distinct hosts, encrypted, off the public internet."""
    path = registration.values["network_path"]
    if not isinstance(path, str) or path not in NETWORK_PATHS:
        raise Refusal("NETWORK_PATH_PUBLIC", field=f"{registration.path}network_path")
    rows = registration.rows("rpc_endpoints", "url node_id host_id tls", ENDPOINTS_MAX)
    found = tuple(_endpoint(row) for row in rows)
    for names in zip(*((each.host, each.host_id, each.node_id) for each in found), strict=True):
        if len(set(names)) < len(found) or len(found) < ENDPOINTS_MIN:
            raise Refusal("RPC_ENDPOINTS_TOO_FEW", distinct=len(set(names)), needed=ENDPOINTS_MIN)
    return found


def _endpoint(row: Fields) -> Endpoint:
    row.choice("tls", _TLS)
    url = row.matching("url", _URL)
    found = _URL.fullmatch(url)
    assert found is not None
    if int(found[2]) > 65_535:
        raise row.wrong("url", "no such port")
    if _is_public(row, found[1].strip("[]")):
        raise Refusal("NETWORK_PATH_PUBLIC", field=f"{row.path}url")
    host_id, node_id = row.matching("host_id", _NAME), row.matching("node_id", _NAME)
    return Endpoint(url, found[1], host_id, node_id)


def _is_public(row: Fields, host: str) -> bool:
    """Whether it is an address of the internet; where a name leads, only a probe can show. No name
    ends in a part that begins with a digit: that is an address, perhaps in a form of its own.
    """
    if ":" not in host and not host.rpartition(".")[2][0].isdigit():
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise row.wrong("url", "no address") from None
    return not any(address in network for network in _CLOSED_NETWORKS)


def require_probes(
    rows: Sequence[Fields], endpoints: Sequence[Endpoint], chain: str, *, lag_max: int
) -> list[Json]:
    """The probes of a report: every registered endpoint answered, as a node of this chain, and no
    two of them are further apart than `lag_max` heights.
    """
    probed: dict[str, int] = {}
    for row in rows:
        url = row.text("url", 512)
        if row.text("chain_id") != chain:
            raise Refusal("RPC_PROBE_FAILED", url=url, fault="it serves another chain")
        probed[url] = row.number("height", 0)
    for each in endpoints:
        if each.url not in probed:
            raise Refusal("RPC_PROBE_FAILED", url=each.url, fault="no answer is reported")
    if len(rows) != len(endpoints):
        raise Refusal("RPC_PROBE_FAILED", url=next(iter(probed)), fault="not what is registered")
    if max(probed.values()) - min(probed.values()) > lag_max:
        slowest = min(probed, key=lambda url: (probed[url], url))
        raise Refusal("RPC_PROBE_FAILED", url=slowest, fault=f"more than {lag_max} heights behind")
    return [{"url": url, "height": height} for url, height in sorted(probed.items())]
