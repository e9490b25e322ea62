"""What replicas of a chain in memory have made durable, by the fsyncs of their segment files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from services.consensus.store import FileOperations


@dataclass(slots=True)
class DurableSegments:
    """Give `files` to a chain, then ask `holds`. Reads by the writer's own descriptor, at its
    fsync: what was only appended, or waits in memory, is not durable.
    """

    paths: dict[int, Path] = field(default_factory=dict)
    durable: dict[Path, bytes] = field(default_factory=dict)

    @property
    def files(self) -> FileOperations:
        """The system's, observed."""
        return FileOperations(open=self._open, fsync=self._fsync)

    def holds(self, folder: Path, record: bytes) -> bool:
        """Whether a segment of this data folder has the bytes of the record, durably."""
        segments = folder / "segments"
        kept = [data for path, data in list(self.durable.items()) if path.parent == segments]
        return any(record in data for data in kept)

    def _open(self, path: Path, flags: int, mode: int) -> int:
        descriptor = os.open(path, flags, mode)
        self.paths[descriptor] = path
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        path = self.paths[descriptor]
        if path.suffix == ".seg":
            size = os.fstat(descriptor).st_size
            self.durable[path] = os.pread(descriptor, size, 0)
