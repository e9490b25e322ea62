"""Pure: the protocol, the ledger and the contracts. No I/O, no clock, no chance."""
