"""Pure: packets and the bodies of the transactions that carry proofs between chains."""
