"""SM2's object identifiers, and the ASN.1 of its keys, for key files and certificates.

asn1crypto does not know the curve and must be told its name and size once per process: that
registration is the only effect of importing this module.
"""

from __future__ import annotations

from typing import Any, Final

from asn1crypto import keys, parser

from guqiao_sdk.gm import sm2

SM2_CURVE_OID: Final = "1.2.156.10197.1.301"
SM2_WITH_SM3_OID: Final = "1.2.156.10197.1.501"

# version, serial number, algorithm, issuer, validity, subject, then the key.
_KEY_FIELD: Final = 6

keys.NamedCurve.register("sm2p256v1", SM2_CURVE_OID, sm2.SCALAR_SIZE)


def curve_parameters() -> Any:
    """Return the parameters that name the SM2 curve."""
    return keys.ECDomainParameters(name="named", value=SM2_CURVE_OID)


def public_key_info(public_key: bytes) -> Any:
    """Return the SubjectPublicKeyInfo of a 65-byte point."""
    algorithm = {"algorithm": "ec", "parameters": curve_parameters()}
    return keys.PublicKeyInfo({"algorithm": algorithm, "public_key": public_key})


def public_key_of(tbs_certificate: bytes) -> bytes | None:
    """Return the SM2 point of a v3 certificate's to-be-signed part, or None if it has none.

    Only the outer structure is walked; the key's own structure must be, byte for byte, the one
    encoding of an SM2 key, so that nothing else of it is ever interpreted.
    """
    fields = _children(tbs_certificate)
    if len(fields) <= _KEY_FIELD:
        return None
    encoded = fields[_KEY_FIELD]
    point = encoded[-sm2.PUBLIC_KEY_SIZE :]
    if not sm2.is_public_key(point) or encoded != public_key_info(point).dump():
        return None
    return point


def _children(encoded: bytes) -> list[bytes]:
    """Return the encodings of the parts of a structure."""
    _, _, _, _, content, _ = parser.parse(encoded, strict=True)
    children = []
    while content:
        size = parser.peek(content)
        children.append(content[:size])
        content = content[size:]
    return children
