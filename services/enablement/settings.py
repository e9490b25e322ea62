"""What can be set for the enablement platform."""

from __future__ import annotations

from services.chassis.runtime import ChainServiceSettings


class Settings(ChainServiceSettings, env_prefix="GUQIAO_ENABLEMENT_"):
    """Nothing of its own: identity, chain, database and bus are enough."""
