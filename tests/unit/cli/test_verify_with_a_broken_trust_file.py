"""`guqiao verify -o json` names each check and its result also where the first does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.trust import parse_trust
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.layout import create_network
from tests.unit.cli.running import command_of


@pytest.mark.req("G2-08-5")
def test_a_trust_file_that_does_not_hold_is_the_check_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_network(tmp_path / "network")
    plan_network(network, lambda text: None)
    trust = network.layout.trust
    text = trust.read_text(encoding="utf-8")
    at = text.index('"issued_at":"') + len('"issued_at":"2')
    trust.write_text(text[:at] + str(9 - int(text[at])) + text[at + 1 :], encoding="utf-8")
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"nobody reads it")
    verify = command_of("verify", monkeypatch, capsys)
    told = verify(bundle, "--trust", trust, "-o", "json")
    assert told.code == 7
    assert told.err.startswith("TRUST_INVALID")
    said = told.json
    [check] = said.pop("checks")
    assert said == {"verified": False}
    assert (check["check"], check["holds"]) == ("trust file", False)
    assert "signature" in check["detail"]


@pytest.mark.req("G2-08-5")
def test_a_trust_file_of_another_issuer_than_the_one_asked_for_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever signs a file can write any DID into it: only its key says who it was."""
    network = create_network(tmp_path / "network")
    plan_network(network, lambda text: None)
    trust = network.layout.trust
    key = parse_trust(trust.read_bytes(), open_provider().verify).issuer_key
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"nobody reads it")
    verify = command_of("verify", monkeypatch, capsys)
    told = verify(bundle, "--trust", trust, "--issuer", "00" * 32, "-o", "json")
    assert (told.code, told.json["checks"][0]["check"]) == (7, "trust file")
    assert "another key" in told.err
    right = verify(bundle, "--trust", trust, "--issuer", sm3(key).hex().upper(), "-o", "json")
    assert (right.code, right.out) == (2, ""), "the trust file is believed, the bundle is none"
    assert right.err.startswith("BUNDLE_MALFORMED")
