"""The file of an import's results is replaced by whole results, or stays as it was."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from guqiaoctl.commands.importing import results_file


def test_whole_results_replace_earlier_ones(tmp_path: Path) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")
    with results_file(there) as write:
        assert there.read_text() == "earlier"
        write("whole")
    assert there.read_text() == "whole"
    assert os.listdir(tmp_path) == ["results.csv"]


def test_an_import_that_fails_leaves_the_earlier_results_and_nothing_beside(tmp_path: Path) -> None:
    there = tmp_path / "results.csv"
    there.write_text("earlier")
    with pytest.raises(RuntimeError), results_file(there):
        raise RuntimeError("the import stopped")
    assert there.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["results.csv"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), results_file(tmp_path / "no" / "results"):
        raise AssertionError("something would have been sent")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    with results_file(pipe) as write:
        write("whole")
    reader.join(20)
    assert heard == ["whole"]
    assert pipe.is_fifo()


def test_where_no_file_is_named_nothing_is_written() -> None:
    with results_file(None) as write:
        write("whole")
