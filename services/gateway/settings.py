"""What can be set for a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from services.chassis.runtime import ChainServiceSettings
from services.chassis.settings import Group


class TunnelSettings(Group):
    """The GM-TLS listener in front of plain gRPC: where other gateways come in."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65_535)


class RemoteSettings(Group):
    """Another chain: what it is trusted by, and who its gateway is. The route to it through the GM
    tunnel is a market's alone: the regulator's gateway calls nobody.
    """

    chain_id: str
    domain: str
    trust_file: Path
    route_port: int | None = Field(default=None, ge=0, le=65_535)
    tunnel_address: str = ""
    expected_peer: str
    organisation: str

    @property
    def has_route(self) -> bool:
        """Whether this gateway opens connections to that one."""
        return self.route_port is not None and bool(self.tunnel_address)


class Settings(ChainServiceSettings, env_prefix="GUQIAO_GATEWAY_"):
    """A market's gateway opens every connection of its link, for packets of either direction."""

    role: Literal["market", "regulator"]
    tunnel: TunnelSettings
    remotes: tuple[RemoteSettings, ...]
    publisher: bool = True
    client_period_seconds: int = Field(default=14 * 86_400, ge=60, le=366 * 86_400)
    """How long another chain may be believed by a header that it certified."""

    @model_validator(mode="after")
    def _calls_go_from_markets(self) -> Self:
        for remote in self.remotes:
            if self.role == "market" and not remote.has_route:
                raise ValueError(f"remotes: {remote.chain_id}: route_port and tunnel_address")
            is_called = remote.route_port is not None or remote.tunnel_address != ""
            if self.role == "regulator" and is_called:
                raise ValueError(
                    f"remotes: {remote.chain_id}: a regulator's gateway calls nobody, so it has no"
                    " route_port and no tunnel_address"
                )
        return self
