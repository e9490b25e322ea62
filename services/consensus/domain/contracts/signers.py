"""Who has to sign a step that two persons of one organisation take together."""

from __future__ import annotations

from guqiao_sdk import roles
from services.consensus.domain.contracts.host import Host, Party, Refusal
from services.consensus.domain.contracts.packets_host import regulatory_chain, require_role


def require_csrc(host: Host) -> None:
    """Both sides of the CSRC sign: the market's and the technical one."""
    require_role(host, roles.CSRC_MARKET)
    require_checker(host, roles.CSRC_TECH)


def require_operator(host: Host) -> None:
    """Two persons of an operator sign."""
    require_role(host, roles.OPERATOR_MAKER)
    require_checker(host, roles.OPERATOR_CHECKER)


def require_answerable(host: Host) -> None:
    """Two persons of those who answer for this chain: both sides of the CSRC on the regulatory
    chain, the operator on a market's.
    """
    if regulatory_chain(host) is None:
        require_csrc(host)
    else:
        require_operator(host)


def require_checker(host: Host, role: str) -> Party:
    """The second signer: another person of the same organisation, who holds `role`."""
    checker = require_second(host, role)
    if checker.organisation != host.sender().organisation:
        raise Refusal("ROLE_MISSING", sender=checker.did, roles=role)
    return checker


def require_second(host: Host, role: str) -> Party:
    """The second signer: another person, of any organisation, who holds `role`."""
    checker = host.checker()
    if checker is None:
        raise Refusal("CHECKER_MISSING", roles=role)
    if checker.did == host.sender().did:
        raise Refusal("CHECKER_IS_MAKER", did=checker.did)
    if role not in checker.roles:
        raise Refusal("ROLE_MISSING", sender=checker.did, roles=role)
    return checker
