"""No contract is destroyed while a business in it is under way (SM-2: no open positions)."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.deployed import Deployed
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import system_host
from services.consensus.domain.contracts.template.vocabulary import STATE

POSITIONS_MAX: Final = 100_000
"""As many records are looked at; a contract that keeps more is paused for good, not destroyed."""


def require_no_open(host: Host, contract: Deployed) -> None:
    """Refuse unless every business of the contract is in a final state of its template.

    What was deployed by an earlier version of `contracts` names no final states: all of its
    businesses count as open until an upgrade brings them. Without a template nothing is known of
    businesses, and nothing is asked.
    """
    tiers, final = contract.tiers, contract.final_states or ()
    if tiers is None:
        return
    for group in (each for each in tiers.groups if each.has_state):
        still = [
            key
            for key, record in _records(host, contract.name, group.prefix)
            if tiers.group_of(key) == group
            and not (isinstance(record, dict) and record.get(STATE) in final)
        ]
        if still:
            raise Refusal(
                "CONTRACT_POSITIONS_OPEN",
                contract=contract.name,
                open=len(still),
                first=still[0].removeprefix(group.prefix),
            )


def _records(host: Host, contract: str, prefix: str) -> list[tuple[str, Json]]:
    found: list[tuple[str, Json]] = []
    system_host(host).within(contract, lambda: found.extend(host.scan(prefix, POSITIONS_MAX + 1)))
    if len(found) > POSITIONS_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="positions", maximum=POSITIONS_MAX)
    return found
