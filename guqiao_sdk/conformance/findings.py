"""What each check is called, and what came of it.

A check is passed, failed, or was not made; what was not made is never passed. A finding carries a
code of the rule catalogue with its facts, so that it reads in both languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

FACT_LENGTH_MAX: Final = 200


class Result(StrEnum):
    """What came of a check."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_CHECKED = "NOT_CHECKED"


class Check(StrEnum):
    """The checks of one node, by the list of JR/T 0314, and behind them those between nodes."""

    LINK = "link"
    STATUS = "status"
    NETWORKS = "networks"
    OPTIONS = "options"
    BLOCK_SIZE = "block_size"
    CONSENSUS_STATE = "consensus_state"
    BLOCK = "block"
    HISTORY = "history"
    TRANSACTION = "transaction"
    OBJECTS = "objects"
    OBJECT = "object"
    STATE_PROOF = "state_proof"
    ABSENCE = "absence"
    REFUSALS = "refusals"
    TWO_NODES = "two_nodes"
    AGREEMENT = "agreement"


BETWEEN: Final = (Check.TWO_NODES, Check.AGREEMENT)
OF_A_NODE: Final = tuple(check for check in Check if check not in BETWEEN)

TITLES: Final[Mapping[Check, tuple[str, str]]] = {
    Check.LINK: ("Link to the node", "连接节点"),
    Check.STATUS: ("Network status", "网络状态"),
    Check.NETWORKS: ("Network list", "网络列表"),
    Check.OPTIONS: ("Network options", "网络选项"),
    Check.BLOCK_SIZE: ("Block of 16 MB at most", "区块不超过 16 MB"),
    Check.CONSENSUS_STATE: ("Consensus state at a height", "指定高度的共识状态"),
    Check.BLOCK: ("Block", "区块"),
    Check.HISTORY: ("Whole history, from block 1", "自第一个区块起的完整历史"),
    Check.TRANSACTION: ("Transaction with proof", "交易及其证明"),
    Check.OBJECTS: ("Data objects of a block", "区块内的数据对象"),
    Check.OBJECT: ("Data object with proof", "数据对象及其证明"),
    Check.STATE_PROOF: ("Proof of existence", "存在性证明"),
    Check.ABSENCE: ("Proof of absence", "不存在证明"),
    Check.REFUSALS: ("Wrong requests are refused", "拒绝错误请求"),
    Check.TWO_NODES: ("Two full nodes at least", "至少两个全节点"),
    Check.AGREEMENT: ("Nodes agree", "节点之间一致"),
}
"""English and Chinese."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check. `node` is the endpoint's URL, empty for a check between nodes; `code`
    and `facts` say why it was not passed.
    """

    check: Check
    node: str
    result: Result
    code: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class NonConformityError(Exception):
    """A check that is not passed: `code` of the rule catalogue, and the facts of its texts."""

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = {name: shown(value) for name, value in facts.items()}


class NotCheckedError(NonConformityError):
    """A check that could not be made."""


def require(what: str, found: object, expected: object) -> None:
    """Raise `NonConformityError` unless the node answered what had to be answered."""
    if found != expected:
        raise NonConformityError(
            "CONFORMANCE_ANSWER_WRONG", what=what, found=found, expected=expected
        )


def shown(value: object) -> str:
    """A value as a fact: one printable line of bounded length; whoever lies chose it."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    line = "".join(each if each.isprintable() else "?" for each in text[: FACT_LENGTH_MAX + 1])
    return line if len(line) <= FACT_LENGTH_MAX else line[: FACT_LENGTH_MAX - 1] + "…"
