"""Runs golden files: blocks of a command, a line of dashes and the expected output.

Lines that begin with `#` are prose. With REWRITE=1 the file records what happened instead of being
checked (`make golden`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

SEPARATOR = "----"


def run(path: Path, execute: Callable[[str], str]) -> None:
    """Run every block of `path` and compare, or rewrite."""
    blocks = [block.partition(f"\n{SEPARATOR}") for block in path.read_text().strip().split("\n\n")]
    actual = [(text, execute(_command(text)).strip()) for text, _, _ in blocks]
    if os.environ.get("REWRITE"):
        written = (f"{text}\n{SEPARATOR}\n{output}".rstrip() for text, output in actual)
        path.write_text("\n\n".join(written) + "\n")
        return
    for (text, output), (_, _, expected) in zip(actual, blocks, strict=True):
        assert output == expected.strip(), f"{path.name}: {_command(text)}"


def _command(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))
