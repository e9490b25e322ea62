"""The contract of workload W0: a table whose one method writes the rows that the body names.

No rule of a market stands between the transaction and the state, so that what is measured is
admission, agreement, execution and storage themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Method


class Table:
    """A contract whose one method writes what the body says."""

    name = "table"
    version = 1

    def methods(self) -> Mapping[str, Method]:
        """`set` writes rows."""
        return {"set": _set}


def _set(host: Host, body: Mapping[str, Json]) -> None:
    for key, value in body.items():
        host.put(key, value)
