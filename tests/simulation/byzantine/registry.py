"""The strategies by number and name (reliability plan, section 1.4)."""

from __future__ import annotations

from typing import Final

STRATEGIES: Final[dict[str, str]] = {
    "B1": "crash-silent",
    "B2": "twins",
    "B3": "equivocating pre-prepare",
    "B4": "double votes",
    "B5": "amnesia restart",
    "B6": "commits withheld from one victim",
    "B7": "proposals just under the time-out",
    "B8": "one client dropped",
    "B9": "requests reordered",
    "B10": "invalid transaction in a batch",
    "B11": "wrong digest or state root",
    "B12": "wrong checkpoint",
    "B13": "sequence jump",
    "B14": "huge or old view",
    "B15": "forged new-view",
    "B16": "view-change spam",
    "B17": "replay across view, sequence, epoch, chain and type",
    "B18": "small-scope mutation",
    "B19": "any-scope mutation",
    "B20": "malformed bytes",
    "B21": "signature encodings",
    "B22": "lying state transfer",
    "B23": "flood",
    "B24": "selective silence",
    "B25": "client and primary collude",
    "B26": "stale member",
    "B27": "clock liar in block time",
    "B28": "more than f traitors",
    "B29": "finality withheld",
    "B30": "blocks given now and then to one who should take a state",
}

VARIANTS: Final[dict[str, str]] = {
    "B17.epoch": "genuine messages of one epoch in another",
    "B17.chain": "genuine messages of another chain under the same keys",
    "B22.head": "a state whose head is false",
    "B22.part": "a state of which a part is false",
    "B23.empty": "a primary that fills the chain with empty batches",
    "B25.backups": "a client and a backup keep a transaction from the primary alone",
    "B26.removed": "a removed member votes on with its key and epoch number",
    "B26.rotated": "a member votes on with the key that was replaced",
}
"""Counted by themselves too, so that none of them is never played."""

LYING: Final = tuple(name for name in STRATEGIES if name not in ("B28", "B29", "B30"))
"""What at most f replicas do by turns; B28 and B29 have runs of their own, B30 a newcomer."""

FORGE: Final = ("B15", "B6", "B24")
"""Goes together: a new-view can only be forged to effect where something was left half decided."""
