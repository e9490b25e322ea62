"""A network's folder that cannot be one: one error that names it, and nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guqiaoctl.commands import dev, doctor
from guqiaoctl.failures import (
    EXIT_CONFLICT,
    EXIT_NOT_FOUND,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.network.layout import create_network, load_network, with_all_ports


def refusal(command: Callable[[Path], object], place: Path) -> CliError:
    with pytest.raises(CliError) as raised:
        command(place)
    assert all(text and remedy for text, remedy in raised.value.texts.values())
    return raised.value


def up(data: Path) -> None:
    dev.up(data, detach=False, demo_data=False, new_ports=False)


def up_detached(data: Path) -> None:
    dev.up(data, detach=True, demo_data=False, new_ports=False)


def status(data: Path) -> None:
    dev.status(data, as_json=False)


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("not a network")
    return folder / "file"


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "deep" / "down"


def link_to_nowhere(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


def too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


PLACES = [a_file, below_a_file, link_to_nowhere]


@pytest.mark.parametrize("command", [up, up_detached])
@pytest.mark.parametrize("place", PLACES)
def test_where_no_folder_can_be_made_nothing_starts(
    tmp_path: Path, place: Callable[[Path], Path], command: Callable[[Path], object]
) -> None:
    data = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    failure = refusal(command, data)
    assert (failure.code, failure.exit_code) == ("FILE_UNWRITABLE", EXIT_USAGE)
    text, remedy = failure.texts["en"]
    assert f"the folder {data} cannot be made: {before[0]} is no folder" in text
    assert "--data" in remedy
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_no_folder_may_have_is_refused(tmp_path: Path) -> None:
    failure = refusal(create_network, too_long(tmp_path))
    assert (failure.code, failure.exit_code) == ("FILE_UNWRITABLE", EXIT_USAGE)
    assert os.strerror(36) in failure.texts["en"][0]


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28), str(tmp_path / "network"))

    monkeypatch.setattr(Path, "mkdir", full)
    from guqiaoctl.foreseen import foreseen

    with pytest.raises(OSError, match="space") as raised:
        create_network(tmp_path / "network")
    failure = foreseen(raised.value)
    assert failure is not None
    assert (failure.code, failure.exit_code) == ("DISK_FULL", EXIT_UNAVAILABLE)


@pytest.mark.parametrize("place", PLACES)
def test_where_no_network_is_a_command_says_so(
    tmp_path: Path, place: Callable[[Path], Path]
) -> None:
    data = place(tmp_path)
    failure = refusal(status, data)
    assert (failure.code, failure.exit_code) == ("NETWORK_UNKNOWN", EXIT_NOT_FOUND)
    assert "network.json" not in failure.texts["en"][0]


def test_doctor_names_a_folder_of_something_else_in_the_users_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_file(tmp_path)
    assert refusal(create_network, tmp_path).exit_code == EXIT_CONFLICT
    monkeypatch.setenv("GUQIAO_LANG", "zh")
    with pytest.raises(SystemExit):
        doctor.check(tmp_path, as_json=False)
    rows = capsys.readouterr().out.splitlines()
    [wrong] = [row for row in rows if row.startswith("✗") and "网络" in row]
    assert "DATA_FOLDER_OTHER_NETWORK" in wrong
    assert "请用 --data 指定其他目录" in wrong
    marks = ("✓", "✗")
    assert all("一" <= row[3] <= "鿿" or row[3] in "P" for row in rows if row.startswith(marks))


def test_a_folder_of_an_earlier_release_gets_the_ports_that_it_lacks_once(tmp_path: Path) -> None:
    made = create_network(tmp_path / "network")
    content = json.loads(made.layout.network_file.read_text())
    later = {name for name in content["ports"] if name.startswith("shandong-") and "tunnel" in name}
    later.discard("shandong-gateway.tunnel")
    assert later == {"shandong-0.tunnel", "shandong-1.tunnel"}
    content["ports"] = {name: port for name, port in content["ports"].items() if name not in later}
    made.layout.network_file.write_text(json.dumps(content))
    old = load_network(tmp_path / "network")
    assert old.reached_at("shandong-0.guqiao.internal", 9) == ("shandong-0.guqiao.internal", 9)
    whole = with_all_ports(old)
    assert set(whole.ports) == set(made.ports)
    assert load_network(tmp_path / "network").ports == whole.ports == with_all_ports(whole).ports
    assert {name: whole.ports[name] for name in content["ports"]} == content["ports"]
    del content["ports"]["shandong-0.peer"]
    made.layout.network_file.write_text(json.dumps(content))
    with pytest.raises(CliError):
        load_network(tmp_path / "network")
