"""Signed bytes, Merkle proofs, certificates and quorum arithmetic, as pure functions.

Consensus, gateway, services and the offline verifier all judge by this one package; it imports none
of them, does no I/O and reads no clock. Signatures are checked through a function that the caller
gives.
"""
