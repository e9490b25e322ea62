"""What the holder of a consensus key signs to show the regulator that it is its own (G2-10-2d).

The bytes name the chain and the node, so that a signature made for one registration shows nothing
in another.
"""

from __future__ import annotations

from guqiao_sdk.proof.canonical import Writer, digest


def possession_sign_bytes(chain_id: str, node_id: str, public_key: bytes) -> bytes:
    """The bytes to sign with the key itself."""
    stated = Writer().text(chain_id).text(node_id).blob(public_key)
    return digest("guqiao/key-possession/1", bytes(stated))
