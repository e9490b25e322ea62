"""Papers of the securities register that prove themselves: the export package of a product, and the
certificate of a holding. They are made and judged by the same reading of the proven state.
"""
