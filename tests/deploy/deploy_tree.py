"""A copy of the deploy folder that a test may spoil, and what the check says of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.check_manifests import check

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


@dataclass(slots=True)
class DeployTree:
    """A copy under a temporary folder; `restore` takes back what was changed."""

    root: Path
    _before: dict[Path, str | None] = field(default_factory=dict)

    @classmethod
    def copy(cls, folder: Path) -> DeployTree:
        """Copy what the check reads."""
        root = folder / "deploy"
        shutil.copytree(DEPLOY / "k8s", root / "k8s")
        shutil.copy(DEPLOY / "zones.yaml", root)
        return cls(root)

    def read(self, file: str) -> str:
        """The text of a file."""
        return (self.root / file).read_text(encoding="utf-8")

    def write(self, file: str, text: str) -> None:
        """Give a file this text; it may be new."""
        path = self.root / file
        self._before.setdefault(path, path.read_text("utf-8") if path.exists() else None)
        path.write_text(text, encoding="utf-8")

    def replace(self, file: str, old: str, new: str) -> None:
        """Change a text that must be there, at its first place."""
        text = self.read(file)
        assert old in text, f"{file} does not hold {old!r}"
        self.write(file, text.replace(old, new, 1))

    def append(self, file: str, text: str) -> None:
        """Add to the end of a file."""
        self.write(file, self.read(file) + text)

    def restore(self) -> None:
        """Make the copy what it was."""
        for path, text in self._before.items():
            if text is None:
                path.unlink()
            else:
                path.write_text(text, encoding="utf-8")
        self._before.clear()

    def lines(self, *, release: bool = False) -> list[str]:
        """What the check says."""
        root = self.root.resolve()
        return [each.line(root) for each in check(root, release=release)]
