"""What a check finds: one line a violation, naming file, object and rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.checker.loader import Manifest


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """A rule that is broken, where, and in which words."""

    file: Path
    subject: str
    rule: str
    text: str

    def line(self, root: Path) -> str:
        """The line for people, with the file seen from `root`."""
        file = self.file.relative_to(root) if self.file.is_relative_to(root) else self.file
        return f"{file}: {self.subject}: {self.rule}: {self.text}"


def violation(manifest: Manifest, rule: str, text: str) -> Violation:
    """A violation by an object."""
    return Violation(manifest.file, manifest.title, rule, text)
