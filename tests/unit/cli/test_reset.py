"""`guqiao dev reset` deletes a network's folder and nothing else, also where a link leads to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from guqiaoctl.commands.dev import reset
from guqiaoctl.failures import CliError
from guqiaoctl.network.layout import create_network


def test_a_link_and_the_network_behind_it_are_deleted_and_their_neighbours_stay(
    tmp_path: Path,
) -> None:
    network = tmp_path / "disk" / "network"
    create_network(network)
    (tmp_path / "disk" / "letter").touch()
    link = tmp_path / "link"
    link.symlink_to(network, target_is_directory=True)
    with pytest.raises(CliError, match="CONFIRMATION_MISSING") as asked:
        reset(link, confirmed=False)
    assert all(str(network) in texts[0] for texts in asked.value.texts.values())
    assert network.exists()
    reset(link, confirmed=True)
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["letter"]


def test_a_link_to_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter").touch()
    (tmp_path / "link").symlink_to(other, target_is_directory=True)
    with pytest.raises(CliError, match="NETWORK_UNKNOWN"):
        reset(tmp_path / "link", confirmed=True)
    assert (tmp_path / "link" / "letter").exists()
