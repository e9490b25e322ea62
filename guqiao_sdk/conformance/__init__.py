"""Whether a chain's nodes answer as JR/T 0314 asks, shown by the chain's own proofs.

`suite.examine` asks every node for every item and believes none; `report` signs what came of it.
"""
