"""Where an import's results go: seen to before anything is sent, never mixed with the summary."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from guqiaoctl import output
from guqiaoctl.commands import importing
from guqiaoctl.commands.importing import DEMO_DATA, ImportReport, run_import
from guqiaoctl.failures import EXIT_NOT_FOUND, CliError
from guqiaoctl.network.layout import create_network

RESULTS = "seq,status,code\n1,accepted,\n2,rejected,SHARES_INSUFFICIENT\n"


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that answers every import at once, and no progress, however slow the machine."""

    async def answered(*_: object) -> ImportReport:
        return ImportReport(((1, "accepted", ""), (2, "rejected", "SHARES_INSUFFICIENT")), 0.5)

    monkeypatch.setattr(importing, "import_dataset", answered)
    monkeypatch.setattr(output, "FIRST_TOLD_SECONDS", 3_600.0)
    create_network(tmp_path / "network")
    return tmp_path / "network"


def start_import(network: Path, results: Path, *, as_json: bool = True) -> None:
    run_import(network, DEMO_DATA, results=results, skip_malformed=False, as_json=as_json)


@pytest.mark.parametrize("name", ["no/such/r.csv", "ring"])
def test_results_that_cannot_be_kept_are_refused_before_anything_is_sent(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async def sent(*_: object) -> ImportReport:
        raise AssertionError("something was sent")

    monkeypatch.setattr(importing, "import_dataset", sent)
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(CliError, match="FILE_UNWRITABLE") as refused:
        start_import(network, tmp_path / name)
    texts = refused.value.texts
    assert texts["en"][0].startswith(f"{tmp_path / name} cannot be written: ")
    assert texts["zh"][0].startswith(f"无法写入 {tmp_path / name}：")
    assert ".part" not in str(refused.value)
    if name != "ring":
        assert refused.value.exit_code == EXIT_NOT_FOUND


def test_results_go_through_a_link(network: Path, tmp_path: Path) -> None:
    (tmp_path / "results.csv").symlink_to(tmp_path / "kept.csv")
    start_import(network, tmp_path / "results.csv")
    assert (tmp_path / "results.csv").is_symlink()
    assert (tmp_path / "kept.csv").read_text() == RESULTS


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("name", ["-", "stdout"])
def test_results_on_standard_output_stand_there_alone(
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    as_json: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stdout").symlink_to("/proc/self/fd/1")  # As `/dev/stdout` is.
    start_import(network, Path(name), as_json=as_json)
    out, err = capfd.readouterr()
    assert out == RESULTS
    if as_json:
        assert json.loads(err)["rejected"] == 1
    else:
        assert err.splitlines()[0].split() == ["STATUS", "EVENTS"]
    assert sorted(os.listdir(tmp_path)) == ["network", "stdout"]
    assert Path("stdout").is_symlink()


def test_results_in_a_file_leave_standard_output_to_the_summary(
    network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start_import(network, tmp_path / "results.csv")
    out, err = capfd.readouterr()
    assert json.loads(out)["accepted"] == 1
    assert err == ""
    assert (tmp_path / "results.csv").read_text() == RESULTS
