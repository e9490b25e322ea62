"""`guqiao verify -o json` names each check and its result also where the first does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

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
