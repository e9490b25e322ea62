"""`guqiao observed trust`: its issuer vouches for another chain, and `guqiao verify` believes."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.fisco.checkpoint import encode_checkpoint
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.trust import parse_trust
from guqiaoctl.commands import doctor
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.layout import Layout, create_network
from guqiaoctl.network.trust_file import SHANGHAI
from tests.plugins.fisco_chain import FiscoChain
from tests.unit.cli.running import Command, Ended, command_of
from tests.unit.cli.test_observed_commands import served

pytestmark = pytest.mark.req("T2-13", "T2-14")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network that was never started, whose regulator issues the TRUST file."""
    made = create_network(tmp_path / "network")
    plan_network(made, lambda text: None)
    return tmp_path / "network"


@pytest.fixture
def chain() -> FiscoChain:
    made = FiscoChain()
    for count in (1, 2):
        made.add_block(count)
    return made


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("observed", monkeypatch, capsys)


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("verify", monkeypatch, capsys)


def day(after: int) -> str:
    return (datetime.now(SHANGHAI).date() + timedelta(days=after)).isoformat()


def written(path: Path, checkpoint: TrustedFisco) -> Path:
    path.write_bytes(encode_checkpoint(checkpoint))
    return path


def bundle_of(chain: FiscoChain, observed: Command, checkpoint: Path, to: Path) -> Ended:
    name = chain.block(2)["transactions"][1]
    with served(chain) as url:
        known = ("--checkpoint", checkpoint, "--node", url, "-o", "json")
        return observed("transaction", name, *known, "--to", to)


def test_a_bundle_of_an_observed_chain_is_verified_by_the_issuers_trust_file(
    network: Path, chain: FiscoChain, observed: Command, verify: Command, tmp_path: Path
) -> None:
    checkpoint, bundle = written(tmp_path / "c.json", chain.trusted(1)), tmp_path / "b.gqb"
    shown = bundle_of(chain, observed, checkpoint, bundle)
    assert (shown.code, shown.json["height"]) == (0, 2)
    trust = Layout(network).trust
    unnamed = verify(bundle, "--trust", trust)
    assert (unnamed.code, "TRUST_INVALID" in unnamed.err) == (7, True)

    vouched = observed("trust", checkpoint, "--until", day(30), "--data", network, "-o", "json")
    assert (vouched.code, vouched.json["valid_until"]) == (0, f"{day(30)}T23:59:59+08:00")
    verified = verify(bundle, "--trust", trust, "-o", "json")
    assert verified.code == 0, verified.err
    assert verified.json["verified"] is True
    assert verified.json["transaction"] == shown.json["transaction_id"]
    assert verified.json["body"] == shown.json["body"]
    assert verified.json["trusted_until"] == vouched.json["valid_until"]
    assert verified.json["checkpoint_height"] == 1
    sealed = verify(bundle, "--trust", trust, "--seal-authority", network / "ca/csrc/ca.pem")
    assert (sealed.code, "REQUEST_MALFORMED" in sealed.err) == (2, True)

    spoiled = bytearray(bundle.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    bundle.write_bytes(spoiled)
    assert verify(bundle, "--trust", trust).code == 7


def test_an_ended_trust_is_refused_with_its_remedy_and_renewed_by_its_issuer(
    network: Path,
    chain: FiscoChain,
    observed: Command,
    verify: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, bundle = written(tmp_path / "c.json", chain.trusted(1)), tmp_path / "b.gqb"
    assert bundle_of(chain, observed, checkpoint, bundle).code == 0
    trust = Layout(network).trust
    assert observed("trust", checkpoint, "--until", day(60), "--data", network).code == 0
    assert trust_finding(network, capsys)["ok"]

    ahead = time.time_ns() + 61 * 86_400 * 10**9
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: ahead)
        english = verify(bundle, "--trust", trust)
        chinese = verify(bundle, "--trust", trust, language="zh")
    assert english.code == 7
    assert "TRUST_EXPIRED" in english.err
    assert "guqiao observed trust" in english.err
    assert "签发方的担保截至" in chinese.err

    assert observed("trust", checkpoint, "--until", day(5), "--data", network).code == 0
    found = trust_finding(network, capsys)
    assert (found["ok"], "guqiao observed trust" in found["remedy"]) == (False, True)
    newer = written(tmp_path / "d.json", chain.trusted(2))
    assert observed("trust", newer, "--until", day(300), "--data", network).code == 0
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: ahead)
        renewed = verify(bundle, "--trust", trust, "-o", "json")
    assert (renewed.code, renewed.json["checkpoint_height"]) == (0, 2)
    (believed,) = parse_trust(trust.read_bytes(), open_provider().verify).observed
    assert [point.number for point in believed.checkpoints] == [1, 2]


def trust_finding(network: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        doctor.check(network, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    found: dict[str, Any] = next(row for row in rows if row["check"] == "trust file")
    return found


def test_what_the_issuer_may_not_vouch_for_changes_nothing(
    network: Path, chain: FiscoChain, observed: Command, tmp_path: Path
) -> None:
    trust = Layout(network).trust
    known = ("--data", network)
    later = written(tmp_path / "later.json", chain.trusted(2))
    assert observed("trust", later, "--until", day(30), *known).code == 0
    before = trust.read_bytes()
    forked = replace(chain.trusted(2), header_hash=b"\x01" * 32)
    fork = written(tmp_path / "fork.json", forked)
    older = written(tmp_path / "older.json", chain.trusted(1))
    refused = {
        "past": (observed("trust", later, "--until", day(-1), *known), 2, "REQUEST_MALFORMED"),
        "no day": (observed("trust", later, "--until", "soon", *known), 2, "REQUEST_MALFORMED"),
        "long": (observed("trust", later, "--until", day(400), *known), 7, "TRUST_INVALID"),
        "fork": (observed("trust", fork, "--until", day(30), *known), 7, "CLIENT_FROZEN"),
        "older": (observed("trust", older, "--until", day(30), *known), 7, "TRUST_INVALID"),
    }
    for name, (ended, code, text) in refused.items():
        assert (ended.code, text in ended.err) == (code, True), (name, ended.err)
    assert trust.read_bytes() == before
    spoiled = json.loads(before)
    spoiled["signature"] = "00" * 64
    trust.write_text(json.dumps(spoiled))
    other = observed("trust", later, "--until", day(30), *known)
    assert (other.code, "TRUST_INVALID" in other.err) == (7, True)
