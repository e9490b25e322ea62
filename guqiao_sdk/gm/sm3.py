"""SM3 (GB/T 32905) and HMAC-SM3: the one hash of the project.

Proofs and the consensus domain import this module alone, so it loads nothing but the hash itself.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

DIGEST_BYTES: Final = 32


def sm3(data: bytes) -> bytes:
    """The SM3 digest of `data`, 32 bytes (GB/T 32905)."""
    return hashlib.new("sm3", data).digest()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """HMAC over SM3, 32 bytes (GB/T 15852.2)."""
    return hmac.new(key, data, "sm3").digest()
