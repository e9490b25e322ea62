"""Contract templates: what a `star/1` contract is, in words that a regulator reads and rules that a
program checks.

`form` reads the canonical JSON into `model`; `outline` reads a checked program, `conformance` holds
the one against the other, `changes` tells two versions apart, `diagram` draws the states
(design.md section 6).
"""
