"""Who may do what in the register: the only place that names roles.

A register operation is signed by a maker and, where the genesis parameter `checker_required` lists
the operation, by a checker too, who is never the same person.
"""

from __future__ import annotations

from typing import Final

from services.consensus.domain.contracts.host import Host, Refusal

OPERATOR_MAKER: Final = "operator_maker"
OPERATOR_CHECKER: Final = "operator_checker"
REGISTRATION_INSTITUTION: Final = "registration_institution"

OPERATION_ROLES: Final = frozenset({OPERATOR_MAKER, REGISTRATION_INSTITUTION})
CHECKER_ROLES: Final = frozenset({OPERATOR_CHECKER, REGISTRATION_INSTITUTION})
MARKET_ROLES: Final = frozenset({OPERATOR_MAKER, REGISTRATION_INSTITUTION})
IDENTITY_ROLES: Final = frozenset({REGISTRATION_INSTITUTION})
"""Investor rows state that identity numbers were checked off chain: the institution says so."""


def require_role(host: Host, allowed: frozenset[str]) -> None:
    """Refuse a sender that holds none of the allowed roles."""
    sender = host.sender()
    if not sender.roles & allowed:
        raise Refusal("ROLE_MISSING", sender=sender.did, allowed=[*sorted(allowed)])


def require_maker_and_checker(host: Host, *, checker_required: bool) -> None:
    """Refuse an operation whose signers may not make it, or who are one and the same."""
    require_role(host, OPERATION_ROLES)
    checker = host.checker()
    if checker is None:
        if checker_required:
            raise Refusal("CHECKER_MISSING", maker=host.sender().did)
        return
    if checker.did == host.sender().did:
        raise Refusal("CHECKER_IS_MAKER", maker=checker.did)
    if not checker.roles & CHECKER_ROLES:
        raise Refusal("ROLE_MISSING", sender=checker.did, allowed=[*sorted(CHECKER_ROLES)])
