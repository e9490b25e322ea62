"""`guqiao document store`: where the bodies are that do not stand on chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder, sync_folder, write_beside
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.moving import copy_objects, remove_copied
from guqiao_sdk.object_store.s3 import SETTINGS_BYTES_MAX, S3Settings, S3SettingsError, S3Store
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.bodies import open_body_keys, open_objects
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import Progress, choose, say

_MODE: Final = 0o600


def use_bucket(data: Path, settings: Path) -> None:
    """Move all bodies into the bucket and use it from then on. Interrupted or repeated, what is
    left behind is moved; nothing is removed before it was read back from the bucket, and nothing
    ever from a bucket that was used before: by another name it may be the same.
    """
    content = read_input(settings, SETTINGS_BYTES_MAX)
    try:
        bucket = S3Settings.from_json(content)
    except S3SettingsError as error:
        raise CliError(
            "SETTINGS_INVALID",
            f"{settings.name} does not name a bucket: {error}",
            f"{settings.name} 不是存储桶设置：{error}",
            "see docs/documents.md for the members of such a file",
            "文件成员见 docs/documents.md",
            exit_code=EXIT_USAGE,
        ) from None
    network = load_network(data)
    moved = asyncio.run(move_bodies(network, bucket, content))
    say(
        choose(
            f"{moved} bodies are in the bucket {bucket.bucket}, which is used from now on",
            f"{moved} 份正文已在存储桶 {bucket.bucket} 中；今后使用该存储桶",
        )
    )


async def move_bodies(network: Network, bucket: S3Settings, content: bytes) -> int:
    """The same for settings with the content of their file; how many bodies are in the bucket."""
    references = open_body_keys(network, open_provider(), MARKET).references()
    folder, target = FolderStore(network.layout.bodies(MARKET)), S3Store(bucket)
    await target.stat("0" * 32)  # Whether it can be reached at all, before anything is changed.
    path = network.layout.bucket(MARKET)
    moved = 0
    for source in [folder, *([open_objects(network, MARKET)] if path.exists() else [])]:
        with Progress(choose("bodies", "正文"), len(references)) as progress:
            moved += await copy_objects(references, source, target, progress.show)
    make_folder(path.parent)
    write_beside(path, content, _MODE).replace(path)
    sync_folder(path.parent)
    await remove_copied(references, folder, target)
    return moved
