"""The roles that an identity can hold on a chain, by the one name that everybody uses.

A role is granted in the genesis or by an identity administrator, and is asked for in two places:
by the contracts (who may do it) and by the services' policy tables (who may call it).
"""

from __future__ import annotations

from typing import Final

IDENTITY_ADMIN: Final = "identity_admin"
MARKET_ADMIN: Final = "market_admin"
REGISTRATION_INSTITUTION: Final = "registration_institution"
OPERATOR_MAKER: Final = "operator_maker"
OPERATOR_CHECKER: Final = "operator_checker"
REGISTRAR: Final = "registrar"
REGISTRATION_CHECKER: Final = "registration_checker"
RELAYER: Final = "relayer"
OBSERVER: Final = "observer"
SUPERVISOR: Final = "supervisor"
SERVICE_PUBLISHER: Final = "service_publisher"
PEER_GATEWAY: Final = "peer_gateway"
CSRC_MARKET: Final = "csrc_market"
CSRC_TECH: Final = "csrc_tech"
PROVINCIAL_REGULATOR: Final = "provincial_regulator"
GOVERNOR: Final = "governor"
CONTRACT_REVIEWER: Final = "contract_reviewer"
REPLICA: Final = "replica"

CHAIN_READERS: Final = frozenset(
    {
        IDENTITY_ADMIN,
        MARKET_ADMIN,
        REGISTRATION_INSTITUTION,
        OPERATOR_MAKER,
        OPERATOR_CHECKER,
        REGISTRAR,
        REGISTRATION_CHECKER,
        RELAYER,
        OBSERVER,
        SUPERVISOR,
        SERVICE_PUBLISHER,
        PEER_GATEWAY,
        CSRC_MARKET,
        CSRC_TECH,
        PROVINCIAL_REGULATOR,
        GOVERNOR,
        CONTRACT_REVIEWER,
    }
)
"""Who may ask a replica about status, headers, identities and the proofs of transactions."""

RESTRICTED_READERS: Final = frozenset({OBSERVER, SUPERVISOR, RELAYER, REGISTRATION_INSTITUTION})
"""Who may read what a chain holds for a restricted circle: blocks, object bodies, state values."""
