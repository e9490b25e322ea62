"""The ledger: what an ordered batch does to the state, as pure functions.

Genesis, admission, execution and the state tree read no clock, disk or network: equal inputs give
equal headers on every replica (reliability S5).
"""
