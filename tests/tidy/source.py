"""What the tidy tests read: the tracked files, their syntax trees and the modules they import."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("services", "guqiao_sdk", "guqiaoctl")
CODE: Final = (*PACKAGES, "tests", "bench")


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path from the root, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name under which it is imported."""
        name = self.path.removesuffix(".py").replace("/", ".")
        return name.removesuffix(".__init__")


def parse(path: str, text: str) -> Source:
    """A source from text, also for planted violations."""
    return Source(path, text, ast.parse(text))


@cache
def tracked_files() -> tuple[str, ...]:
    """Every file in the repository as it is about to be: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(
        sorted(path for path in set(listed.stdout.splitlines()) if (ROOT / path).is_file())
    )


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files under the folders."""
    wanted = folders or CODE
    return tuple(
        parse(path, (ROOT / path).read_text(encoding="utf-8"))
        for path in tracked_files()
        if path.endswith(".py") and path.partition("/")[0] in wanted
    )


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of the file."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported_modules(all_sources: Iterable[Source]) -> set[str]:
    """The dotted names that some file imports, `from x import y` counted as x and as x.y."""
    names: set[str] = set()
    for source in all_sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names.add(node.module)
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names
