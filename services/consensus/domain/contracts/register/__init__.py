"""The register contract: who holds which shares of which company, by the market's rules.

docs/market-dataset.md fixes every rule. `contract.py` is the entrance; `operations/` has one module
an operation, each with its checks in the order in which they are tried.
"""
