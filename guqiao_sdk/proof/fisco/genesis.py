"""The genesis block: the one place where a chain says its name, its group and its cryptography.

Its header is hashed with nothing where there are no roots and no gas. Its text is a configuration
in lines; three of them are read.
"""

from __future__ import annotations

import re
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import Fields
from guqiao_sdk.proof.fisco.header import EXTRA_DATA_BYTES_MAX, check_version
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json

_CHAIN: Final = re.compile(rb"^chainID: ?([!-~]{1,64})$", re.MULTILINE)
_GROUP: Final = re.compile(rb"^(?:grouID|groupID): ?([!-~]{1,64})$", re.MULTILINE)
_SM: Final = re.compile(rb"^sm_crypto: ?([01])$", re.MULTILINE)


def verify_genesis(trusted: TrustedFisco, value: Json) -> None:
    """Raise `ProofError` unless the result of `getBlockByNumber` for height 0 is the genesis block
    that is trusted, of the chain and group that are, with national cryptography.
    """
    piece = f"genesis block of {trusted.name}"
    fields = Fields.of(piece, value)
    version = fields.integer("version", 1 << 32)
    check_version(piece, version)
    text = fields.hexed("extraData", EXTRA_DATA_BYTES_MAX)
    if _only(piece, _SM, text) != b"1":
        raise ProofError(piece, "the chain does not use national cryptography", "ALG_NOT_GM")
    named = (_only(piece, _CHAIN, text), _only(piece, _GROUP, text))
    if named != (trusted.chain_id.encode(), trusted.group_id.encode()):
        raise ProofError(piece, f"it is not of {trusted.name}", "CHAIN_MISMATCH")
    # Height, time and sealer are 0; roots, gas, sealers and weights are not there.
    if sm3(version.to_bytes(4, "big") + bytes(3 * 8) + text) != trusted.genesis_hash:
        raise ProofError(piece, "its hash is not the one that is trusted", "HEADER_UNVERIFIED")


def _only(piece: str, pattern: re.Pattern[bytes], text: bytes) -> bytes:
    found: list[bytes] = pattern.findall(text)
    if len(found) != 1:
        raise ProofError(
            piece, "its text does not say once which chain it is", "OBSERVED_VERSION_UNKNOWN"
        )
    return found[0]
