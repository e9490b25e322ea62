"""The register contract: who holds which shares of which company, by the market's rules.

docs/market-dataset.md fixes every rule. `guqiao_sdk/register_rules` has them in star/1, each method
with its checks in the order in which they are tried. `contract.py` is the entrance, `program.py`
runs the sources, `recount.py` counts everything again and shares nothing with them.
"""
