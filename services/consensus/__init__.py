"""A PBFT replica: consensus, ledger, contract engine and node RPC."""
