"""Contracts: what a transaction may do to the state, as pure functions of a host."""
