"""What the sending end of a port hears of a packet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guqiao_sdk.proof.json_values import Json


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a packet that this chain sent, proven at `height` of its destination. The
    acknowledgement is None where it had no effect in time. Height 0: given up without a proof, the
    acknowledgement says with which code.
    """

    destination: str
    port: str
    sequence: int
    height: int
    acknowledgement: Mapping[str, Json] | None
