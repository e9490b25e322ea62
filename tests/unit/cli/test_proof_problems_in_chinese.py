"""Every piece of a proof and every reason that the SDK can state has a Chinese sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiaoctl.proof_problems import in_chinese, piece_in_chinese, reason_in_chinese

SDK = Path(__file__).parents[3] / "guqiao_sdk"
REFUSE_A_PIECE = {"ProofError", "invalid"}
REFUSE_FOR_A_REASON = {
    "conformance/report.py": "_refusal",
    "proof/trust.py": "_refusal",
    "proof/bundle.py": "malformed",
    "proof/extract.py": "malformed",
    "proof/observed_bundle.py": "_refusal",
    "proof/observed_trust.py": "refusal",
    "proof/framing.py": "malformed",
    "archive/manifest.py": "_refusal",
    "register_papers/export.py": "refusal",
    "register_papers/manifest.py": "_refusal",
    "register_papers/proven.py": "_incomplete",
    "register_papers/tables.py": "refusal",
}


def _texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be; what stands in braces is 1."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(_part(part) for part in parts)


def _part(part: ast.expr) -> str:
    match part:
        case ast.Constant(value=text):
            return str(text)
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="_place"))):
            return "1 height 1"
        case ast.FormattedValue(value=ast.Name(id="name")):
            return "maker"
        case _:
            return "1"


def _pieces(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id=name), args=[piece, _, *_]) if name in REFUSE_A_PIECE:
            yield from _texts(piece)
        case ast.Assign(targets=[ast.Name(id="piece")], value=piece):
            yield from _texts(piece)
        case ast.AnnAssign(target=ast.Name(id="_PIECE" | "FRAMING"), value=ast.expr() as piece):
            yield from _texts(piece)


def _reasons(node: ast.AST, refuse: str | None) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id=name), args=[_, reason, *_]) if name in REFUSE_A_PIECE:
            yield from _texts(reason)
        case (
            ast.Call(func=ast.Name(id=name), args=[reason])
            | ast.Call(func=ast.Attribute(attr=name), args=[reason])
        ) if name == refuse:
            yield from _texts(reason)


def _stated() -> tuple[set[str], set[str]]:
    pieces, reasons = set[str](), set[str]()
    for path in SDK.rglob("*.py"):
        refuse = REFUSE_FOR_A_REASON.get(path.relative_to(SDK).as_posix())
        for node in ast.walk(ast.parse(path.read_text())):
            pieces.update(_pieces(node))
            reasons.update(_reasons(node, refuse))
    return pieces, reasons


PIECES, REASONS = _stated()
OPEN = {"maker: 1", "1.restart_authorities: 1", "1.checkpoints: 1"}
"""A place and what a decoder says of it."""


def _is_chinese(text: str | None) -> bool:
    return text is not None and any("一" <= character <= "鿿" for character in text)


def test_the_source_states_what_people_meet() -> None:
    """The search itself works."""
    assert {"framing", "trust file", "finality certificate of 1 height 1"} <= PIECES
    assert {"the checksum is not that of the content", "the Merkle path leads to another root"} <= (
        REASONS
    )
    assert (len(PIECES) > 20, len(REASONS) > 80) == (True, True)


@pytest.mark.parametrize("piece", sorted(PIECES))
def test_a_piece_has_a_chinese_name(piece: str) -> None:
    assert _is_chinese(piece_in_chinese(piece)), piece


@pytest.mark.parametrize("reason", sorted(REASONS - OPEN))
def test_a_reason_has_a_chinese_sentence(reason: str) -> None:
    chinese = reason_in_chinese(reason)
    assert _is_chinese(chinese)
    assert chinese is not None
    assert ("1" in chinese) == ("1" in reason), "a value that the English names, and no other"


def test_what_a_decoder_says_is_kept_behind_what_it_means() -> None:
    error = ProofError("section header", "3 bytes follow the end", "BUNDLE_MALFORMED")
    assert in_chinese(error) == ("分段 header", "不成立（3 bytes follow the end）")
    assert in_chinese(ProofError("00000001.seg", "it is missing")) == ("00000001.seg", "文件缺失")
    epochs = ProofError("set changes of csrc", "epoch 3 of csrc is followed by the next one")
    assert in_chinese(epochs) == ("csrc 的副本集变更", "csrc 第 3 纪元之后只能是下一个纪元")
