"""What can be set for one replica. What all replicas of a chain share comes from the genesis."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Group, IdentitySettings, ServiceSettings

DISK_RESERVE_BYTES: Final = 512 * 1024 * 1024


class PeersSettings(Group):
    """Where this replica listens for the others, and where each of them listens, by number; those
    of members to come may follow the present ones.
    """

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65_535)
    addresses: tuple[str, ...]

    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """The addresses as (host, port)."""
        pairs = (address.rpartition(":") for address in self.addresses)
        return tuple((host, int(port)) for host, _, port in pairs)


class Settings(ServiceSettings):
    """Settings of one replica. `[gm]` names its GM-TLS certificate. Production sets
    `refuse_historic_import`: a genesis that lets operations carry old business times is refused.

    With `next_vote_key_file` it goes on voting when governance replaces its key by that one. A
    `learner` never had a vote: it follows the chain until a set names its key. `[identity]` is whom
    it submits evidence as; without it, evidence is kept and logged.
    """

    model_config = SettingsConfigDict(env_prefix="GUQIAO_CONSENSUS_")

    chain_id: str
    replica: int = Field(ge=0, le=99)
    genesis_file: Path
    data_folder: Path
    vote_key_file: Path
    next_vote_key_file: Path | None = None
    learner: bool = False
    identity: IdentitySettings | None = None
    refuse_historic_import: bool = False
    disk_reserve_bytes: int = Field(default=DISK_RESERVE_BYTES, ge=0)
    peers: PeersSettings
