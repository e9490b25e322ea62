"""What can be set for the registry."""

from __future__ import annotations

from pathlib import Path

from services.chassis.runtime import ChainServiceSettings


class Settings(ChainServiceSettings, env_prefix="GUQIAO_REGISTRY_"):
    """Keys are files with hex digits, readable by their owner only:

    32 bytes for identity digests (HMAC-SM3), 16 bytes for investors' bodies (SM4).
    """

    identity_key_file: Path
    body_key_file: Path
