"""What goes wrong between us and the nodes of an observed chain. What they send and cannot prove
is a `ProofError`.
"""

from __future__ import annotations

from typing import Final

from services.chassis.errors import FailedPreconditionError, NotFoundError, UnavailableError

DETAIL_CHARACTERS_MAX: Final = 200


class NodeUnavailableError(UnavailableError):
    """A node, or in the end each of them, is away, too slow, or breaks off."""

    def __init__(self, detail: str) -> None:
        super().__init__("OBSERVED_NODE_UNAVAILABLE", detail=shown(detail))


class NodeRefusedError(FailedPreconditionError):
    """A node answered with an error of its own."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__("OBSERVED_NODE_REFUSED", number=number, detail=shown(detail))


class AnswerMalformedError(FailedPreconditionError):
    """A node answered what is no answer, or too much."""

    def __init__(self, detail: str) -> None:
        super().__init__("OBSERVED_ANSWER_MALFORMED", detail=shown(detail))


class ItemUnknownError(NotFoundError):
    """No node has the block or transaction that is asked for."""

    def __init__(self) -> None:
        super().__init__("OBSERVED_ITEM_UNKNOWN")


def shown(text: str) -> str:
    """A text of a stranger as we may repeat it: short, printable, in one line."""
    kept = "".join(each if each.isprintable() else " " for each in text[:DETAIL_CHARACTERS_MAX])
    return kept.strip()
