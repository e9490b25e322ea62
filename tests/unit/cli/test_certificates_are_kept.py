"""Certificates of the one-machine network that do not serve are made anew at the next start, or the
file is named with what to do.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guqiao_sdk.gm.certificates import parse_certificate
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.failures import CliError
from guqiaoctl.network import pki
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS

PROVIDER = open_provider()


class Clock(datetime):
    """The time as a machine shows it whose clock is ahead."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + cls.ahead


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    ensure(layout)
    return layout


def ensure(layout: Layout) -> list[str]:
    said: list[str] = []
    pki.ensure_certificates(layout, PROVIDER, said.append)
    return said


def check_all(layout: Layout) -> None:
    """Each process has a certificate of its own name and key that is valid now."""
    now = datetime.now(UTC)
    for leaf in pki.leaves():
        folder = layout.process(leaf.process)
        info = parse_certificate((folder / "tls.pem").read_bytes())
        key = load_private_key(folder / "tls.key", PROVIDER)
        assert (info.identity, info.public_key) == (leaf.identity, key.public_key)
        assert info.not_before <= now <= info.not_after


def test_certificates_that_serve_stay_and_nothing_is_said(layout: Layout) -> None:
    before = [(layout.process(leaf.process) / "tls.pem").read_bytes() for leaf in pki.leaves()]
    assert ensure(layout) == []
    check_all(layout)
    after = [(layout.process(leaf.process) / "tls.pem").read_bytes() for leaf in pki.leaves()]
    assert after == before


def test_what_was_made_while_the_clock_was_ahead_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "ahead", timedelta(days=800))
        patched.setattr(pki, "datetime", Clock)
        ensure(layout)
    said = ensure(layout)
    assert any("14 certificates were due or of no use" in line for line in said), said
    check_all(layout)
    for domain in CHAINS:
        authority = parse_certificate((layout.authority(domain) / "ca.pem").read_bytes())
        assert authority.not_before <= datetime.now(UTC)


@pytest.mark.parametrize("names", [("tls.pem",), ("tls.key",), ("tls.pem", "tls.key")])
def test_files_of_two_processes_that_were_swapped_serve_again(
    layout: Layout, names: tuple[str, ...]
) -> None:
    one, other = (layout.process(f"shandong-{number}") for number in (0, 1))
    for name in names:
        first, second = (one / name).read_bytes(), (other / name).read_bytes()
        (one / name).write_bytes(second)
        (other / name).write_bytes(first)
    assert any(line.startswith("2 certificates were due") for line in ensure(layout))
    check_all(layout)


@pytest.mark.parametrize("where", ["processes/shandong-2/tls.pem", "ca/shandong/ca.pem"])
def test_a_damaged_certificate_is_named_and_is_made_anew_once_it_is_moved_away(
    layout: Layout, where: str
) -> None:
    path = layout.folder / where
    path.write_bytes(b"x")
    with pytest.raises(CliError) as caught:
        ensure(layout)
    assert caught.value.code == "CERTIFICATE_MALFORMED"
    for text, remedy in caught.value.texts.values():
        assert str(path) in text
        assert "dev up" in remedy
    path.unlink()
    ensure(layout)
    check_all(layout)


def test_a_revocation_list_that_is_gone_is_not_replaced_without_a_word(layout: Layout) -> None:
    (layout.authority("shandong") / "crl.pem").unlink()
    (said,) = ensure(layout)
    assert "the revocation list of shandong was missing" in said
    assert ensure(layout) == []
