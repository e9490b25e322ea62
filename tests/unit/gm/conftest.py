"""Both backends, opened once: what one signs, the other must accept."""

from __future__ import annotations

import warnings

import pytest

from guqiao_sdk.gm.provider import GmProvider, open_provider


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
