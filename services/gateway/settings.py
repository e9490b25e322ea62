"""What can be set for a gateway."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from services.chassis.runtime import ChainServiceSettings
from services.chassis.settings import Group
from services.gateway.observed.http import Endpoint
from services.gateway.observed.json_rpc import NODES_MAX


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


class ObservedSettings(Group):
    """A chain of another kind that the regulator's gateway reads from outside: its id in the
    register of chains, its nodes (http or https, each on a host and port of its own), and whose
    certificates https nodes have, where the system does not know him. The checkpoint is on chain.
    """

    chain_id: str = Field(min_length=1, max_length=64)
    nodes: tuple[str, ...] = Field(min_length=2, max_length=NODES_MAX)
    ca_file: Path | None = None

    @field_validator("nodes")
    @classmethod
    def _are_distinct(cls, nodes: tuple[str, ...]) -> tuple[str, ...]:
        names = {Endpoint.parse(url).name for url in nodes}
        if len(names) < len(nodes):
            raise ValueError("one node alone can be compared with nobody: name distinct ones")
        return nodes

    def tls(self) -> ssl.SSLContext | None:
        """For nodes with https; None where there are none. Raises `OSError` for a bad file."""
        if not any(Endpoint.parse(url).tls for url in self.nodes):
            return None
        return ssl.create_default_context(cafile=self.ca_file)


class Settings(ChainServiceSettings, env_prefix="GUQIAO_GATEWAY_"):
    """A market's gateway opens every connection of its link, for packets of either direction."""

    role: Literal["market", "regulator"]
    tunnel: TunnelSettings
    remotes: tuple[RemoteSettings, ...]
    publisher: bool = True
    client_period_seconds: int = Field(default=14 * 86_400, ge=60, le=366 * 86_400)
    """How long another chain may be believed by a header that it certified."""
    observed: tuple[ObservedSettings, ...] = ()

    @model_validator(mode="after")
    def _the_regulator_observes(self) -> Self:
        chains = [each.chain_id for each in self.observed]
        if chains and self.role == "market":
            raise ValueError("observed: a market's gateway observes no chain")
        if len(set(chains)) < len(chains):
            raise ValueError("observed: a chain is named twice")
        return self

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
