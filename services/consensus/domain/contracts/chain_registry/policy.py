"""The numbers of the registration that no rule fixes: genesis may set them for its chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host

ASSESSMENT_DAYS: Final = "assessment_days_max"
LAG_HEIGHTS: Final = "probe_lag_heights_max"
UPDATE_WORKING_DAYS: Final = "update_working_days"
DEFAULTS: Final[Mapping[str, int]] = {ASSESSMENT_DAYS: 365, LAG_HEIGHTS: 10, UPDATE_WORKING_DAYS: 1}
"""How old a security assessment may be, how far two nodes may be apart, and by when a changed set
has to be registered.
"""
_GREATEST: Final = 10_000


def check_parameters(parameters: Mapping[str, Json]) -> None:
    """Raise `ValueError` unless a genesis file's parameters of the contract are of this form."""
    for name, value in parameters.items():
        if name not in DEFAULTS:
            raise ValueError(f"{name[:64]} is unknown")
        if type(value) is not int or not 1 <= value <= _GREATEST:
            raise ValueError(f"{name} is not an integer from 1 to {_GREATEST}")


def policy(host: Host, name: str) -> int:
    """What the chain's genesis says, else the default."""
    parameters = host.get("parameters")
    assert isinstance(parameters, dict), "genesis writes the parameters of every contract"
    value = parameters.get(name, DEFAULTS[name])
    assert isinstance(value, int), "genesis was checked"
    return value
