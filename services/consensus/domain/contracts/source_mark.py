"""The mark of its source in the header of a data object (G2-19-4, JR/T 0314 annex B).

The chain that sends an object makes the mark by itself, of what it knows of the operation, so that
nobody words it; a chain that receives one holds it against the chain that proves the packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Chain

EVERY_REPLICA: Final = "every-replica"
"""The node of a mark: each replica of the source makes the object by executing its block, and what
a quorum of them certified is of none of them alone.
"""


def source_mark(host: Chain, *, chain: str, contract: str, version: int) -> dict[str, Json]:
    """The mark of an object that a contract of this chain makes for the operation being executed:
    the organisation is the maker's.
    """
    return {
        "chain_id": chain,
        "node": EVERY_REPLICA,
        "org_did": host.sender().organisation,
        "system": f"{contract}/{version}",
    }


def is_marked(header: Mapping[str, Json]) -> bool:
    """Whether a header has a mark; `read_object` judges what stands in it."""
    return header.get("source") is not None
