"""Who has to sign a step that two persons of one organisation take together."""

from __future__ import annotations

from services.consensus.domain.contracts.host import Host, Party, Refusal


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
