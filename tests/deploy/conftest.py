"""One copy of the deploy folder for all tests that spoil it; each gets it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.deploy_tree import DeployTree


@pytest.fixture(scope="session")
def deploy_copy(tmp_path_factory: pytest.TempPathFactory) -> DeployTree:
    """The copy."""
    return DeployTree.copy(tmp_path_factory.mktemp("deploy"))


@pytest.fixture
def tree(deploy_copy: DeployTree) -> Iterator[DeployTree]:
    """The copy, to be spoilt."""
    try:
        yield deploy_copy
    finally:
        deploy_copy.restore()
