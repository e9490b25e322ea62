"""A copy of the deploy folder that a test may spoil, and what the check says of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.check_manifests import check

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


@dataclass(frozen=True, slots=True)
class DeployTree:
    """A copy under a temporary folder."""

    root: Path

    @classmethod
    def copy(cls, folder: Path) -> DeployTree:
        """Copy what the check reads."""
        root = folder / "deploy"
        shutil.copytree(DEPLOY / "k8s", root / "k8s")
        shutil.copy(DEPLOY / "zones.yaml", root)
        return cls(root)

    def replace(self, file: str, old: str, new: str) -> None:
        """Change a text that must be there, at its first place."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def append(self, file: str, text: str) -> None:
        """Add to the end of a file."""
        path = self.root / file
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    def lines(self, *, release: bool = False) -> list[str]:
        """What the check says."""
        root = self.root.resolve()
        return [each.line(root) for each in check(root, release=release)]
