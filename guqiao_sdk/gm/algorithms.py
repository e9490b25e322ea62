"""The allow-list of algorithms, and the inventory of where each is used (G2-09-5).

Whatever names an algorithm (a transaction, a key file, a configuration) is checked here, so that an
ECDSA key or an AES suite is refused with one code, `ALG_NOT_GM`, and not half accepted somewhere.
"""

from __future__ import annotations

from enum import StrEnum

from guqiao_sdk.gm.errors import AlgorithmNotGmError


class GmAlgorithm(StrEnum):
    """Every algorithm the system may use."""

    SM2_WITH_SM3 = "SM2-SM3"
    SM2_ENCRYPTION = "SM2-ENC"
    SM3 = "SM3"
    HMAC_SM3 = "HMAC-SM3"
    SM4_GCM = "SM4-GCM"
    TLS_SM4_GCM_SM3 = "TLS_SM4_GCM_SM3"


INVENTORY: dict[GmAlgorithm, str] = {
    GmAlgorithm.SM2_WITH_SM3: "transactions, votes, certificates, CRLs, request signatures",
    GmAlgorithm.SM2_ENCRYPTION: "keys sealed for the readers of restricted documents",
    GmAlgorithm.SM3: "transaction ids, blocks, Merkle trees, state, file digests",
    GmAlgorithm.HMAC_SM3: "keyed digests of identity numbers",
    GmAlgorithm.SM4_GCM: "data sealed at rest and for its readers",
    GmAlgorithm.TLS_SM4_GCM_SM3: "links between replicas, gateways and tunnels (RFC 8998)",
}


def require_gm(name: str) -> GmAlgorithm:
    """Return the algorithm called `name`, or raise `AlgorithmNotGmError`."""
    try:
        return GmAlgorithm(name)
    except ValueError:
        allowed = ", ".join(GmAlgorithm)
        raise AlgorithmNotGmError(
            f"{name!r} is not a national algorithm; use one of {allowed}",
            f"{name!r} 不是国密算法;请使用 {allowed} 之一",
        ) from None
