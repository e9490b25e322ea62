"""Bodies move into a bucket: all of them open from there, and nothing is lost on the way."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.object_store.errors import StoreUnavailableError
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.moving import copy_objects
from guqiao_sdk.object_store.s3 import S3Settings, S3SettingsError, S3Store
from guqiaoctl.commands.body_store import move_bodies
from guqiaoctl.network.bodies import open_bodies, open_objects
from guqiaoctl.network.layout import Layout, Network
from services.chassis.settings import SettingsError

DOMAIN = "shandong"
BODIES = [b"first", b"second", b"third"]

pytestmark = pytest.mark.req("G2-17-1")


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(Layout(tmp_path), "0" * 16, "2026-01-05T10:00:00+00:00", {})


def written(settings: S3Settings) -> bytes:
    return json.dumps(asdict(settings)).encode()


def make_bucket(settings: S3Settings) -> None:
    url = f"{settings.endpoint}/{settings.bucket}"
    request = urllib.request.Request(url, data=b"", method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_all_bodies_open_from_the_bucket_and_the_folder_is_empty(
    network: Network, provider: GmProvider, s3_settings: S3Settings
) -> None:
    described = [await open_bodies(network, provider, DOMAIN).put(body) for body in BODIES]
    assert await move_bodies(network, s3_settings, written(s3_settings)) == len(BODIES)
    assert files_below(network.layout.bodies(DOMAIN)) == []
    assert network.layout.bucket(DOMAIN).stat().st_mode & 0o077 == 0
    bodies = open_bodies(network, provider, DOMAIN)
    for each, body in zip(described, BODIES, strict=True):
        assert await bodies.get(each.reference, each.digest) == body
    late = await bodies.put(b"late")
    assert await S3Store(s3_settings).stat(late.reference) is not None
    await bodies.erase(described[0].reference)
    assert await move_bodies(network, s3_settings, written(s3_settings)) == len(BODIES)
    assert await bodies.get(late.reference, late.digest) == b"late"


async def test_interrupted_before_the_bucket_is_used_everything_opens_from_the_folder(
    network: Network,
    provider: GmProvider,
    s3_settings: S3Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    described = [await open_bodies(network, provider, DOMAIN).put(body) for body in BODIES]
    put, count = S3Store.put, 0

    async def once(self: S3Store, reference: str, content: bytes) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise StoreUnavailableError("away", "不可用")
        await put(self, reference, content)

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "put", once)
        with pytest.raises(StoreUnavailableError):
            await move_bodies(network, s3_settings, written(s3_settings))
    bodies = open_bodies(network, provider, DOMAIN)
    for each, body in zip(described, BODIES, strict=True):
        assert await bodies.get(each.reference, each.digest) == body
    assert await move_bodies(network, s3_settings, written(s3_settings)) == len(BODIES)
    bodies = open_bodies(network, provider, DOMAIN)
    for each, body in zip(described, BODIES, strict=True):
        assert await bodies.get(each.reference, each.digest) == body


async def test_the_same_bucket_by_other_words_loses_nothing(
    network: Network, provider: GmProvider, s3_settings: S3Settings
) -> None:
    kept = await open_bodies(network, provider, DOMAIN).put(BODIES[0])
    await move_bodies(network, s3_settings, written(s3_settings))
    again = replace(s3_settings, endpoint=s3_settings.endpoint.replace("127.0.0.1", "localhost"))
    assert await move_bodies(network, again, written(again)) == 1
    assert await open_bodies(network, provider, DOMAIN).get(kept.reference, kept.digest)


async def test_from_one_bucket_to_another(
    network: Network, provider: GmProvider, s3_settings: S3Settings
) -> None:
    kept = await open_bodies(network, provider, DOMAIN).put(BODIES[0])
    await move_bodies(network, s3_settings, written(s3_settings))
    other = replace(s3_settings, bucket=f"{s3_settings.bucket}-other")
    with pytest.raises(StoreUnavailableError):
        await move_bodies(network, other, written(other))
    make_bucket(other)
    assert await move_bodies(network, other, written(other)) == 1
    for settings in (s3_settings, other):
        assert await S3Store(settings).stat(kept.reference) is not None
    assert await open_bodies(network, provider, DOMAIN).get(kept.reference, kept.digest)


async def test_what_comes_back_otherwise_stops_before_anything_is_removed(tmp_path: Path) -> None:
    source, target = FolderStore(tmp_path / "one"), FolderStore(tmp_path / "two")
    reference = "ab" * 16
    await source.put(reference, b"right")
    await target.put(reference, b"wrong")
    with pytest.raises(StoreUnavailableError, match="something else"):
        await copy_objects([reference], source, target)
    assert await source.get(reference) == b"right"


GOOD: dict[str, Any] = {
    "endpoint": "https://objects.example",
    "bucket": "bodies",
    "region": "cn",
    "access_key_id": "id",
    "secret_access_key": "hidden",
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        json.dumps({**GOOD, "more": "x"}).encode(),
        json.dumps({**GOOD, "bucket": ""}).encode(),
        json.dumps({**GOOD, "region": 1}).encode(),
        json.dumps({**GOOD, "endpoint": "ftp://objects.example"}).encode(),
        json.dumps({name: GOOD[name] for name in list(GOOD)[1:]}).encode(),
    ],
)
def test_settings_of_no_bucket_are_refused_and_show_no_secret(
    network: Network, content: bytes
) -> None:
    with pytest.raises(S3SettingsError, match=r"JSON|object|text|URL") as refused:
        S3Settings.from_json(content)
    assert "hidden" not in str(refused.value)
    path = network.layout.bucket(DOMAIN)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"shandong-bodies\.s3"):
        open_objects(network, DOMAIN)


def test_settings_that_others_can_read_are_refused(network: Network) -> None:
    path = network.layout.bucket(DOMAIN)
    path.parent.mkdir(parents=True)
    path.write_bytes(json.dumps(GOOD).encode())
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_objects(network, DOMAIN)
