"""The wrapping key of a network's bodies: made once, and never in the place of one that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.object_store.errors import BodyKeyDamagedError
from guqiaoctl.network.bodies import open_bodies
from guqiaoctl.network.layout import Layout, Network

DOMAIN = "shandong"

pytestmark = pytest.mark.req("G2-09-6", "G2-17-1")


def network(folder: Path) -> Network:
    return Network(Layout(folder), "0" * 16, "2026-01-05T10:00:00+00:00", {})


async def test_a_body_is_found_again_by_another_command(tmp_path: Path) -> None:
    provider = open_provider()
    described = await open_bodies(network(tmp_path), provider, DOMAIN).put(b"body")
    again = open_bodies(network(tmp_path), provider, DOMAIN)
    assert await again.get(described.reference, described.digest) == b"body"
    layout = Layout(tmp_path)
    for path in (layout.wrapping_key(DOMAIN), layout.bodies(DOMAIN), layout.body_keys(DOMAIN)):
        assert path.stat().st_mode & 0o077 == 0


async def test_a_lost_wrapping_key_is_told_and_not_made_anew(tmp_path: Path) -> None:
    provider, path = open_provider(), Layout(tmp_path).wrapping_key(DOMAIN)
    described = await open_bodies(network(tmp_path), provider, DOMAIN).put(b"body")
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyFileError, match="cannot be read"):
        open_bodies(network(tmp_path), provider, DOMAIN)
    assert not path.exists()
    path.write_bytes(b"ab" * 16)
    path.chmod(0o600)
    with pytest.raises(BodyKeyDamagedError):
        await open_bodies(network(tmp_path), provider, DOMAIN).get(
            described.reference, described.digest
        )
    path.write_bytes(kept)
    again = open_bodies(network(tmp_path), provider, DOMAIN)
    assert await again.get(described.reference, described.digest) == b"body"


async def test_domains_have_bodies_of_their_own(tmp_path: Path) -> None:
    provider = open_provider()
    described = await open_bodies(network(tmp_path), provider, DOMAIN).put(b"body")
    other = open_bodies(network(tmp_path), provider, "csrc")
    with pytest.raises(Exception, match="nothing is kept"):
        await other.get(described.reference, described.digest)
