"""Both backends, opened once: what one signs, the other must accept."""

from __future__ import annotations

import warnings

import pytest

from guqiao_sdk.gm.provider import GmProvider, open_provider
from tests.unit.gm.certificate_world import DAY, START, World, make_authority


@pytest.fixture(scope="session")
def libcrypto() -> GmProvider:
    return open_provider("libcrypto")


@pytest.fixture(scope="session")
def gmssl() -> GmProvider:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_provider("gmssl")


@pytest.fixture(scope="session", params=["libcrypto", "gmssl"])
def provider(request: pytest.FixtureRequest) -> GmProvider:
    chosen: GmProvider = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="module")
def world(libcrypto: GmProvider) -> World:
    authority = make_authority(libcrypto)
    key = libcrypto.keygen()
    crl = authority.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    empty = World(libcrypto, authority, key, b"", crl)
    return World(libcrypto, authority, key, empty.issue(), crl)
