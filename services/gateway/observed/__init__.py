"""Chains that the regulator's side reads from outside: through node RPC only, with nothing of ours
in them. One port (`port.py`), an adapter for each kind of chain.
"""
