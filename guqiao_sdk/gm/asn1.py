"""SM2's object identifiers, and the ASN.1 of its keys, for key files and certificates.

asn1crypto does not know the curve and must be told its name and size once per process: that
registration is the only effect of importing this module.
"""

from __future__ import annotations

from typing import Any, Final

from asn1crypto import keys

from guqiao_sdk.gm import sm2

SM2_CURVE_OID: Final = "1.2.156.10197.1.301"
SM2_WITH_SM3_OID: Final = "1.2.156.10197.1.501"

keys.NamedCurve.register("sm2p256v1", SM2_CURVE_OID, sm2.SCALAR_SIZE)


def curve_parameters() -> Any:
    """Return the parameters that name the SM2 curve."""
    return keys.ECDomainParameters(name="named", value=SM2_CURVE_OID)


def public_key_info(public_key: bytes) -> Any:
    """Return the SubjectPublicKeyInfo of a 65-byte point."""
    algorithm = {"algorithm": "ec", "parameters": curve_parameters()}
    return keys.PublicKeyInfo({"algorithm": algorithm, "public_key": public_key})


def public_key_of(info: Any) -> bytes | None:
    """Return the point of a SubjectPublicKeyInfo, or None unless it is a point of the SM2 curve."""
    if info["algorithm"]["algorithm"].native != "ec":
        return None
    if info["algorithm"]["parameters"].chosen.dump() != curve_parameters().chosen.dump():
        return None
    point: bytes = info["public_key"].native
    return point if sm2.is_public_key(point) else None
