"""The file that a command writes is replaced by a whole result, or stays as it was."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from guqiaoctl.output import whole_file


def test_whole_results_replace_earlier_ones(tmp_path: Path) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")
    with whole_file(there) as write:
        assert there.read_text() == "earlier"
        write(b"whole")
    assert there.read_text() == "whole"
    assert os.listdir(tmp_path) == ["results.csv"]


def test_a_command_that_fails_leaves_the_earlier_result_and_nothing_beside(tmp_path: Path) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")
    with pytest.raises(RuntimeError), whole_file(there):
        raise RuntimeError("the command stopped")
    assert there.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["results.csv"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), whole_file(tmp_path / "no" / "results"):
        raise AssertionError("something would have been done")


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


def test_where_no_file_is_named_nothing_is_written() -> None:
    with whole_file(None) as write:
        write(b"whole")
