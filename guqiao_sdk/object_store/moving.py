"""Bodies move from one store to another as they are, sealed; their keys and references stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guqiao_sdk.object_store.errors import BodyUnknownError, StoreUnavailableError
from guqiao_sdk.object_store.port import ObjectStore


async def copy_objects(
    references: Sequence[str],
    source: ObjectStore,
    target: ObjectStore,
    on_object: Callable[[int], object] = lambda done: None,
) -> int:
    """Copy what `source` holds, and read each back; return how many those are. Once more changes
    nothing. Raises what the stores raise, and `StoreUnavailableError` where another content comes
    back.
    """
    copied = 0
    for done, reference in enumerate(references, 1):
        try:
            content = await source.get(reference)
        except BodyUnknownError:
            continue  # Moved before, or its publication was cut off.
        if await target.stat(reference) is None:
            await target.put(reference, content)
        if await target.get(reference) != content:
            raise StoreUnavailableError(
                f"the other store gives back something else under {reference}; nothing was removed",
                f"另一存储在 {reference} 下返回的内容不同；未删除任何内容",
            )
        copied += 1
        on_object(done)
    return copied


async def remove_copied(
    references: Sequence[str], source: ObjectStore, target: ObjectStore
) -> None:
    """Remove from `source` what `target` holds as well."""
    for reference in references:
        if await target.stat(reference) is not None:
            await source.delete(reference)
