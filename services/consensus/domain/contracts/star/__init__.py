"""The contract engine `star/1`: Starlark syntax, a strict subset, an evaluator of our own.

Source → `syntax` (checked text, parsed) → `ir` (canonical form, checked, hashed) → `evaluate`. Only
the canonical form goes on chain, so neither a parser nor a CPython version can fork one. Any source
and any input end in a value, `ContractError` or `OutOfGas` (design.md section 6).
"""
