"""What can be set for reporting."""

from __future__ import annotations

from typing import Literal

from services.chassis.runtime import ChainServiceSettings


class Settings(ChainServiceSettings, env_prefix="GUQIAO_REPORTING_"):
    """The role says beside which kind of chain it stands."""

    role: Literal["market", "regulator"]
