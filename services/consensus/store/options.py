"""What is local to one replica's store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.consensus.store.core_log import PART_BYTES
from services.consensus.store.files import SYSTEM_FILES, FileOperations
from services.consensus.store.promise import SEQUENCES_A_PROMISE
from services.consensus.store.segment import SEGMENT_BYTES_MAX

RESERVE_BYTES: Final = 1024 * 1024 * 1024
"""Free space below which a replica stops voting: enough for the block in hand and the index."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Local settings; replicas may differ in them."""

    reserve_bytes: int = RESERVE_BYTES
    segment_bytes_max: int = SEGMENT_BYTES_MAX
    compaction_part_bytes: int = PART_BYTES
    files: FileOperations = SYSTEM_FILES
    sequences_a_promise: int = SEQUENCES_A_PROMISE
