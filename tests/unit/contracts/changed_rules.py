"""The register's rules with other constants, where the real bound takes too long to reach."""

from __future__ import annotations

import re

import pytest

from guqiao_sdk.register_rules import source_parts
from services.consensus.domain.contracts.register import program
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_parts


def change_rules(monkeypatch: pytest.MonkeyPatch, **constants: int) -> None:
    """Let constants of the sources have other values for one test."""
    parts = {name: data.decode() for name, data in source_parts().items()}
    for name, value in constants.items():
        found = 0
        for part, text in parts.items():
            parts[part], count = re.subn(rf"(?m)^{name} = \d+$", f"{name} = {value}", text)
            found += count
        assert found == 1, name
    changed = Program(compile_parts([text.encode() for text in parts.values()]), program.PRICES)
    monkeypatch.setattr(program, "register_program", lambda: changed)


def constant(name: str) -> int:
    """Return the value of a constant of the sources."""
    value = program.register_program().constants[name]
    assert type(value) is int
    return value
