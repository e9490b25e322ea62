"""`guqiao chain publish-crl --from`: what a timer runs does nothing twice, and says what it did."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guqiao_sdk.proof.revocation_list import parse_revocation_list_pem
from guqiaoctl.commands import crl_publishing
from guqiaoctl.commands.chain_calls import failure
from guqiaoctl.failures import EXIT_UNAVAILABLE, CliError
from tests.unit.cli.running import Command, command_of
from tests.unit.xchain.registered_chains import authority, crl

pytestmark = pytest.mark.req("G2-19-5")


class FakeChain:
    """Keeps the number of one authority's list as the contract does, and counts what is sent."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.sent: list[str] = []
        self.error: CliError | None = None

    def take(self, network: Any, method: str, body: Any) -> Any:
        assert method == "publish_crl"
        if self.error is not None:
            raise self.error
        self.sent.append(body["crl"])
        number = parse_revocation_list_pem(body["crl"]).number
        if self.number is not None and number <= self.number:
            raise failure("CRL_OLDER", authority="演示", number=str(self.number))
        self.number = number
        return SimpleNamespace(height=len(self.sent))

    async def record(self, network: Any, key: str) -> dict[str, object] | None:
        assert key.startswith("chains/crl/")
        return None if self.number is None else {"number": str(self.number)}


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> FakeChain:
    fake = FakeChain()
    monkeypatch.setattr(crl_publishing, "load_network", lambda data: None)
    monkeypatch.setattr(crl_publishing, "take", fake.take)
    monkeypatch.setattr(crl_publishing, "_record", fake.record)
    # The lists of these tests are of the time of the recorded chain.
    at_ns = int(1e6 * (parse_revocation_list_pem(crl()).this_update_ms + 1))
    monkeypatch.setattr(crl_publishing, "time", SimpleNamespace(time_ns=lambda: at_ns))
    return fake


@pytest.fixture
def publish(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chain: FakeChain
) -> Command:
    return command_of("chain", monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "lists", one=crl(), two=crl(number=2))


def written(folder: Path, **lists: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, pem in lists.items():
        (folder / f"{name}.pem").write_text(pem)
    return folder


def outcomes(publish: Command, place: Path, *more: str | Path) -> tuple[int, list[str]]:
    ended = publish("publish-crl", "--from", place, *more, "-o", "json")
    return ended.code, [row["outcome"] for row in ended.json]


@pytest.mark.parametrize("knows_authority", [True, False])
def test_a_second_run_publishes_nothing(
    publish: Command, chain: FakeChain, folder: Path, tmp_path: Path, *, knows_authority: bool
) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(authority().certificate_pem)
    more = ("--authority", root) if knows_authority else ()
    assert outcomes(publish, folder, *more) == (0, ["PUBLISHED", "PUBLISHED"])
    assert (chain.number, len(chain.sent)) == (2, 2)
    assert outcomes(publish, folder, *more) == (0, ["PRESENT", "PRESENT"])
    assert len(chain.sent) == (2 if knows_authority else 4)
    written(folder, three=crl(number=3))
    assert outcomes(publish, folder, *more) == (0, ["PRESENT", "PRESENT", "PUBLISHED"])
    assert chain.number == 3


def test_a_certificate_in_the_folder_tells_whose_the_lists_are(
    publish: Command, chain: FakeChain, folder: Path
) -> None:
    (folder / "ca.pem").write_bytes(authority().certificate_pem)
    (folder / "notes.txt").write_text("not read")
    assert outcomes(publish, folder) == (0, ["PUBLISHED", "PUBLISHED"])
    assert outcomes(publish, folder) == (0, ["PRESENT", "PRESENT"])
    assert len(chain.sent) == 2


def test_one_file_is_published_like_a_folder(publish: Command, folder: Path) -> None:
    assert outcomes(publish, folder / "two.pem") == (0, ["PUBLISHED"])
    assert outcomes(publish, folder / "two.pem") == (0, ["PRESENT"])
    assert outcomes(publish, folder / "one.pem") == (0, ["PRESENT"])


def test_an_ended_list_is_passed_over_where_the_next_one_is_there(
    publish: Command, chain: FakeChain, tmp_path: Path
) -> None:
    ended = crl(days=-1, since=9)
    both = written(tmp_path / "both", one=ended, two=crl(number=2, since=0))
    assert outcomes(publish, both) == (0, ["SUPERSEDED", "PUBLISHED"])


def test_what_fails_decides_the_exit_code_after_all_were_tried(
    publish: Command, chain: FakeChain, folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.crl").write_text("nothing")
    code, found = outcomes(publish, folder)
    assert (code, sorted(found)) == (2, ["FAILED", "PUBLISHED", "PUBLISHED"])
    chain.error = failure("CRL_STALE", authority="演示")
    assert outcomes(publish, folder / "one.pem") == (chain.error.exit_code, ["FAILED"])
    chain.error = CliError("CHAIN_UNAVAILABLE", "a", "b", "c", "d", exit_code=EXIT_UNAVAILABLE)
    assert outcomes(publish, folder / "one.pem") == (6, ["FAILED"])


def test_without_a_list_or_with_two_places_nothing_is_done(
    publish: Command, chain: FakeChain, folder: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert publish("publish-crl", "--from", empty).code == 3
    assert publish("publish-crl", "--from", tmp_path / "none").code == 3
    assert publish("publish-crl").code == 2
    assert publish("publish-crl", folder / "one.pem", "--from", folder).code == 2
    assert chain.sent == []
