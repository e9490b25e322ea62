"""What can be set for a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.chassis.runtime import ChainServiceSettings
from services.chassis.settings import Group


class TunnelSettings(Group):
    """The GM-TLS listener in front of plain gRPC: where other gateways come in."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65_535)


class RemoteSettings(Group):
    """Another chain: what it is trusted by, and the route to its gateway through the GM tunnel."""

    chain_id: str
    domain: str
    trust_file: Path
    route_port: int = Field(ge=0, le=65_535)
    tunnel_address: str
    expected_peer: str
    organisation: str
    packet_link: bool = False
    """Whether the regulator's gateway carries packets to this chain, which holds the light client
    of the regulator's. A market's gateway always does."""


class Settings(ChainServiceSettings, env_prefix="GUQIAO_GATEWAY_"):
    """A market's gateway relays packets to the regulator's; the latter to markets with a packet
    link.
    """

    role: Literal["market", "regulator"]
    tunnel: TunnelSettings
    remotes: tuple[RemoteSettings, ...]
    publisher: bool = True
