"""The broker's jars are used only if every one is the pinned one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.kafka.broker import (
    HERE,
    LOGGING,
    KafkaUnavailableError,
    expected_digests,
    verify_jars,
)


def make(folder: Path) -> dict[str, str]:
    for name in ("a.jar", "b.jar"):
        (folder / name).write_bytes(name.encode())
    return {name: hashlib.sha512(name.encode()).hexdigest() for name in ("a.jar", "b.jar")}


def test_the_pinned_jars_are_accepted(tmp_path: Path) -> None:
    verify_jars(tmp_path, make(tmp_path))


def test_a_changed_jar_is_refused_by_name(tmp_path: Path) -> None:
    expected = make(tmp_path)
    (tmp_path / "b.jar").write_bytes(b"tampered")
    with pytest.raises(KafkaUnavailableError, match=r"b\.jar"):
        verify_jars(tmp_path, expected)


@pytest.mark.parametrize("surplus", ["c.jar", "A.jar"])
def test_a_jar_that_is_not_on_the_list_is_refused(tmp_path: Path, surplus: str) -> None:
    expected = make(tmp_path)
    (tmp_path / surplus).write_bytes(b"")
    with pytest.raises(KafkaUnavailableError, match=surplus):
        verify_jars(tmp_path, expected)


def test_a_missing_jar_is_refused(tmp_path: Path) -> None:
    expected = make(tmp_path)
    (tmp_path / "a.jar").unlink()
    with pytest.raises(KafkaUnavailableError, match=r"a\.jar"):
        verify_jars(tmp_path, expected)


@pytest.mark.parametrize("version", [*LOGGING])
def test_every_jar_of_a_release_has_a_digest_of_full_length(version: str) -> None:
    digests = expected_digests(version)
    assert f"kafka_2.13-{version}.jar" in digests
    assert {len(digest) for digest in digests.values()} == {128}
    assert len(digests) == len((HERE / f"jars-{version}.sha512").read_text().splitlines())
