"""The file that a command writes is replaced by a whole result, or stays as it was."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from guqiaoctl.failures import EXIT_DENIED, EXIT_NOT_FOUND, EXIT_USAGE, CliError
from guqiaoctl.foreseen import foreseen
from guqiaoctl.result_files import beside, whole_file


def never() -> None:
    raise AssertionError("something would have been done")


def test_whole_results_replace_earlier_ones(tmp_path: Path) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")
    with whole_file(there) as write:
        assert there.read_text() == "earlier"
        write(b"whole")
        assert there.read_text() == "earlier"
    assert there.read_text() == "whole"
    assert os.listdir(tmp_path) == ["results.csv"]


def test_who_may_read_an_earlier_result_may_read_the_next_one_and_nobody_else(
    tmp_path: Path,
) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")
    there.chmod(0o600)
    with whole_file(there) as write:
        write(b"whole")
    assert stat.S_IMODE(there.stat().st_mode) == 0o600


def test_a_command_that_fails_leaves_the_earlier_result_and_nothing_beside(tmp_path: Path) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")

    def stop(write: Callable[[bytes], object]) -> None:
        write(b"half")
        raise RuntimeError("the command stopped")

    with pytest.raises(RuntimeError), whole_file(there) as write:
        stop(write)
    assert there.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["results.csv"]


def test_what_is_called_like_a_part_of_the_result_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.csv.part").write_text("somebody's")
    with whole_file(tmp_path / "results.csv") as write:
        write(b"whole")
    assert (tmp_path / "results.csv.part").read_text() == "somebody's"


# --- Links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(
    tmp_path: Path, is_there: bool
) -> None:
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "target.csv"
    if is_there:
        target.write_text("earlier")
    link = tmp_path / "results.csv"
    link.symlink_to(Path("disk") / "target.csv")
    with whole_file(link) as write:
        write(b"whole")
        assert target.exists() is is_there
    assert link.is_symlink()
    assert (link.read_text(), target.read_text()) == ("whole", "whole")
    assert sorted(os.listdir(tmp_path)) == ["disk", "results.csv"]
    assert os.listdir(tmp_path / "disk") == ["target.csv"]


def test_a_command_that_fails_leaves_what_a_link_leads_to_as_it_was(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "results.csv"
    target.write_text("earlier")
    link.symlink_to(target)
    with pytest.raises(RuntimeError), whole_file(link):
        raise RuntimeError("the command stopped")
    assert target.read_text() == "earlier"
    assert sorted(os.listdir(tmp_path)) == ["results.csv", "target.csv"]


# --- Refused before anything is done -------------------------------------------------------------


def folder_missing(place: Path) -> Path:
    return place / "no" / "such" / "r.csv"


def link_to_a_missing_folder(place: Path) -> Path:
    (place / "link").symlink_to(place / "no" / "r.csv")
    return place / "link"


def folder(place: Path) -> Path:
    (place / "folder").mkdir()
    return place / "folder"


def below_a_file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file" / "r.csv"


def ring_of_links(place: Path) -> Path:
    (place / "ring").symlink_to("ring")
    return place / "ring"


@pytest.mark.parametrize(
    ("make", "exit_code", "says"),
    [
        (folder_missing, EXIT_NOT_FOUND, "there is no folder {place}/no/such"),
        (link_to_a_missing_folder, EXIT_NOT_FOUND, "there is no folder {place}/no"),
        (folder, EXIT_USAGE, "it is a folder"),
        (below_a_file, EXIT_USAGE, "{place}/file is no folder"),
        (ring_of_links, EXIT_USAGE, os.strerror(errno.ELOOP)),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_by_the_name_that_the_user_gave(
    tmp_path: Path, make: Callable[[Path], Path], exit_code: int, says: str
) -> None:
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CliError) as refused, whole_file(path):
        never()
    (text, remedy), (text_zh, remedy_zh) = (refused.value.texts[each] for each in ("en", "zh"))
    assert text == f"{path} cannot be written: {says.format(place=os.path.realpath(tmp_path))}"
    assert text_zh.startswith(f"无法写入 {path}：")
    assert all("一" <= each[0] <= "鿿" for each in (text_zh, remedy_zh))
    assert "name" in remedy
    assert (refused.value.code, refused.value.exit_code) == ("FILE_UNWRITABLE", exit_code)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", denied)
    said = f"writing it in {os.path.realpath(tmp_path)} is not permitted"
    with pytest.raises(CliError, match=said) as refused, whole_file(tmp_path / "r.csv"):
        never()
    assert refused.value.exit_code == EXIT_DENIED
    assert ".part" not in str(refused.value)


def test_a_full_disk_is_told_by_the_name_that_the_user_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    there = tmp_path / "r.csv"
    with pytest.raises(OSError, match="No space left") as failed, whole_file(there) as write:
        write(b"whole")
    failure = foreseen(failed.value)
    assert failure is not None
    assert (failure.code, failure.texts["en"][0]) == (
        "DISK_FULL",
        f"{there} No space left on device",
    )
    assert os.listdir(tmp_path) == []


# --- Written to as they are ----------------------------------------------------------------------


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    with whole_file(pipe) as write:
        write(b"whole")
    reader.join(20)
    assert heard == ["whole"]
    assert pipe.is_fifo()


def test_a_device_is_written_to_and_not_replaced() -> None:
    """A terminal of our own: nothing can take its place, whatever goes wrong here."""
    master, terminal = os.openpty()
    try:
        path = Path(os.ttyname(terminal))
        before = path.stat()
        with whole_file(path) as write:
            write(b"whole")
        assert os.read(master, 100) == b"whole"
        assert os.path.samestat(before, path.stat())
    finally:
        os.close(master)
        os.close(terminal)


@pytest.fixture
def standard_output(tmp_path: Path) -> Path:
    """What `/dev/stdout` is, in a place where a mistake does no harm."""
    path = tmp_path / "stdout"
    path.symlink_to("/proc/self/fd/1")
    return path


@pytest.mark.parametrize("is_named", [True, False])
def test_results_go_to_standard_output_and_what_is_beside_them_does_not(
    standard_output: Path, capfd: pytest.CaptureFixture[str], is_named: bool
) -> None:
    path = standard_output if is_named else Path("-")
    print("before")
    with whole_file(path) as write:
        write(b"whole\n")
    print("summary", file=beside(path))
    print("after")
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert (out, err) == ("before\nwhole\nafter\n", "summary\n")
    assert standard_output.is_symlink()
    assert not Path("-").exists()


@pytest.mark.parametrize("stream", [1, 2])
def test_a_file_that_output_is_appended_to_keeps_what_was_in_it(
    tmp_path: Path, stream: int
) -> None:
    log, kept = tmp_path / "log", os.dup(stream)
    log.write_text("earlier\n")
    with log.open("ab") as file:
        os.dup2(file.fileno(), stream)
    try:
        with whole_file(log) as write:
            write(b"whole\n")
    finally:
        os.dup2(kept, stream)
        os.close(kept)
    assert log.read_text() == "earlier\nwhole\n"


def test_a_summary_stands_on_standard_output_where_results_go_elsewhere(tmp_path: Path) -> None:
    assert beside(None) is sys.stdout
    assert beside(tmp_path / "results.csv") is sys.stdout


def test_where_no_file_is_named_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_file(None) as write:
        write(b"whole")
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")
