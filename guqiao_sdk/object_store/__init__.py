"""Bodies that may not stand on a chain, kept encrypted beside it, and erased for good (G2-17-7).

`port` is what a store must do, `folder` and `s3` do it, `encrypted` is what callers use.
"""
