"""What can be set for one replica. What all replicas of a chain share comes from the genesis."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Group, ServiceSettings

DISK_RESERVE_BYTES: Final = 512 * 1024 * 1024


class PeersSettings(Group):
    """Where this replica listens for the others, and where each of them listens, by number."""

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65_535)
    addresses: tuple[str, ...]

    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """The addresses as (host, port)."""
        pairs = (address.rpartition(":") for address in self.addresses)
        return tuple((host, int(port)) for host, _, port in pairs)


class Settings(ServiceSettings):
    """Settings of one replica; `[gm]` names its GM-TLS certificate. Production sets
    `refuse_historic_import`: a genesis that lets operations carry old business times is refused.
    """

    model_config = SettingsConfigDict(env_prefix="GUQIAO_CONSENSUS_")

    chain_id: str
    replica: int = Field(ge=0, le=99)
    genesis_file: Path
    data_folder: Path
    vote_key_file: Path
    refuse_historic_import: bool = False
    disk_reserve_bytes: int = Field(default=DISK_RESERVE_BYTES, ge=0)
    peers: PeersSettings
