"""T_h of production is 60 s: a network can be founded with it, and keeps the one it began with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl import __main__ as command_line
from guqiaoctl.commands import dev
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.genesis import ensure_genesis
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS
from services.consensus.domain.ledger.genesis_json import parse_genesis


def found(folder: Path, heartbeat: int | None) -> list[int]:
    layout = Layout(folder)
    ensure_genesis(layout, open_provider(), lambda _: None, heartbeat)
    read = [parse_genesis(layout.genesis(chain).read_bytes()) for chain in CHAINS]
    return [each.parameters.heartbeat_ms for each in read]


def test_a_network_is_founded_with_the_heartbeat_of_production_or_of_development(
    tmp_path: Path,
) -> None:
    assert found(tmp_path / "production", 60) == [60_000, 60_000]
    assert found(tmp_path / "development", None) == [5_000, 5_000]


def test_a_network_keeps_the_heartbeat_that_it_was_founded_with(tmp_path: Path) -> None:
    assert found(tmp_path, 60) == [60_000, 60_000]
    assert found(tmp_path, 60) == [60_000, 60_000]
    assert found(tmp_path, None) == [60_000, 60_000]
    with pytest.raises(CliError) as refused:
        found(tmp_path, 5)
    assert (refused.value.code, refused.value.exit_code) == ("REQUEST_MALFORMED", EXIT_USAGE)


def test_the_command_line_hands_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(dev, "up", lambda _, **options: asked.append(options))
    arguments = ["dev", "up", "--data", str(tmp_path), "--heartbeat", "60"]
    assert CliRunner().invoke(command_line.app, arguments).exit_code == 0
    assert asked[0]["heartbeat"] == 60


def test_a_network_in_the_background_is_told_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Sequence[str]] = []

    def start(arguments: Sequence[str], **_: object) -> subprocess.Popen[bytes]:
        started.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        dev.up(
            tmp_path,
            detach=True,
            demo_data=True,
            new_ports=False,
            heartbeat=60,
            kafka=["csrc=a:1"],
            unregistered=True,
        )
    options = ["--demo-data", "--unregistered", "--heartbeat", "60", "--kafka-bootstrap=csrc=a:1"]
    command = [sys.executable, "-m", "guqiaoctl", "dev", "up", "--data", str(tmp_path)]
    assert started == [[*command, *options]]
