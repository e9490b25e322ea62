"""The two stores behind one port: a folder, and a bucket of an S3-compatible server in process."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.port import ObjectStore
from guqiao_sdk.object_store.s3 import S3Settings, S3Store

_BUCKETS = itertools.count(1)


@pytest.fixture(scope="session")
def provider() -> GmProvider:
    return open_provider()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server on loopback, at a port that the system chose."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def s3_settings(s3_endpoint: str) -> S3Settings:
    """A new, empty bucket."""
    name = f"bodies-{next(_BUCKETS)}"
    request = urllib.request.Request(f"{s3_endpoint}/{name}", data=b"", method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    return S3Settings(s3_endpoint, name, "us-east-1", "key-id", "secret", prefix="shandong")


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    return S3Store(request.getfixturevalue("s3_settings"))
