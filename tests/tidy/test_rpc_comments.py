"""Every RPC tells in its comment which errors it gives."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tidy.source import ROOT

RPC = re.compile(r"((?:^ *//.*\n)*)^ *rpc (\w+)", re.MULTILINE)


def without_errors(text: str) -> list[str]:
    return [name for comment, name in RPC.findall(text) if "Errors:" not in comment]


def contracts() -> list[Path]:
    return sorted((ROOT / "protos").rglob("*_service.proto"))


def test_every_rpc_names_its_errors() -> None:
    found = {path.name: without_errors(path.read_text(encoding="utf-8")) for path in contracts()}
    assert len(found) == 5
    assert not any(found.values()), found


def test_a_comment_that_names_none_is_found() -> None:
    text = (
        "  // Gives. Errors: none.\n  rpc Give(A) returns (B);\n\n"
        "  // Takes.\n  rpc Take(A) returns (B);\n"
    )
    assert without_errors(text) == ["Take"]
