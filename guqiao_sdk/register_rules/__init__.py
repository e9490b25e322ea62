"""The rules of the register as people read them: sources in star/1, with zh and en texts.

The register contract of every market's chain runs exactly these. They are here so that whoever
reads receipts and proofs has the rules as well.
"""

from __future__ import annotations

from importlib.resources import files


def source_parts() -> dict[str, bytes]:
    """The sources by file name, in the order in which they make one program."""
    found = {each.name: each for each in files(__name__).iterdir() if each.name.endswith(".star")}
    return {name: found[name].read_bytes() for name in sorted(found)}
