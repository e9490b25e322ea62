"""`guqiao observed begin|consent|replace|recorded`: who signs, what is sent, and what is shown."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guqiao_sdk.proof.fisco.checkpoint import checkpoint_value, encode_checkpoint
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.observed_state import acknowledgement_key, client_key
from guqiaoctl.commands import observed_recording
from tests.plugins.fisco_chain import FiscoChain
from tests.unit.cli.running import Command, command_of

pytestmark = pytest.mark.req("T2-13", "T2-14")

CHAIN = "zhejiang"


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("observed", monkeypatch, capsys)


@pytest.fixture
def fisco() -> FiscoChain:
    chain = FiscoChain()
    chain.add_block()
    return chain


@pytest.fixture
def checkpoint(tmp_path: Path, fisco: FiscoChain) -> Path:
    path = tmp_path / "chain.json"
    path.write_bytes(encode_checkpoint(fisco.trusted(1)))
    return path


def answering(monkeypatch: pytest.MonkeyPatch, *, code: str = "") -> list[tuple[Any, ...]]:
    """The calls that are made; each is taken, or refused with this code."""
    calls: list[tuple[Any, ...]] = []

    async def submit(network: Any, chain: str, call: Any, **who: Any) -> Any:
        calls.append((chain, call, who))
        detail = {"chain": CHAIN, "digest": "00"}
        return SimpleNamespace(accepted=not code, code=code, detail=detail, height=12)

    monkeypatch.setattr(observed_recording, "load_network", lambda data: None)
    monkeypatch.setattr(observed_recording, "submit", submit)
    return calls


@pytest.mark.parametrize(
    ("step", "domain", "maker", "checker"),
    [
        ("begin", "csrc", "market", "tech"),
        ("replace", "csrc", "market", "tech"),
        ("consent", "shandong", "province", None),
    ],
)
def test_each_step_is_signed_by_whose_it_is(
    observed: Command,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
    fisco: FiscoChain,
    step: str,
    domain: str,
    maker: str,
    checker: str | None,
) -> None:
    calls = answering(monkeypatch)
    told = observed(step, CHAIN, "--checkpoint", checkpoint)
    assert (told.code, "12" in told.out) == (0, True)
    body = {"chain": CHAIN, "checkpoint": checkpoint_value(fisco.trusted(1))}
    who = {"maker": maker, "checker": checker, "domain": domain}
    assert calls == [("csrc", ("observed", step, body), who)]


def test_a_refusal_is_told_with_its_remedy(
    observed: Command, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    answering(monkeypatch, code="OBSERVED_CONSENT_MISSING")
    told = observed("replace", CHAIN, "--checkpoint", checkpoint)
    assert told.code != 0
    assert "OBSERVED_CONSENT_MISSING" in told.err
    chinese = observed("replace", CHAIN, "--checkpoint", checkpoint, language="zh")
    assert "省级监管部门" in chinese.err


def test_a_file_that_is_no_checkpoint_is_sent_nowhere(
    observed: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = answering(monkeypatch)
    path = tmp_path / "chain.json"
    path.write_text("{}", encoding="utf-8")
    told = observed("begin", CHAIN, "--checkpoint", path)
    assert told.code != 0
    assert "TRUST_INVALID" in told.err
    assert calls == []


def keeping(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]) -> None:
    """A regulatory chain whose state proves these values and nothing else."""

    async def get_state_proof(key: str) -> Any:
        value = values.get(key)
        return SimpleNamespace(value=None if value is None else canonical_json(value))

    @asynccontextmanager
    async def open_chain(*told: Any) -> Any:
        yield SimpleNamespace(get_state_proof=get_state_proof)

    monkeypatch.setattr(observed_recording, "load_network", lambda data: None)
    monkeypatch.setattr(observed_recording, "open_identity", lambda *told: None)
    monkeypatch.setattr(observed_recording, "open_chain", open_chain)


def test_what_is_recorded_is_shown_latest_and_by_height(
    observed: Command, monkeypatch: pytest.MonkeyPatch, fisco: FiscoChain
) -> None:
    client = {
        "status": "ACTIVE",
        "generation": 2,
        "checkpoint": checkpoint_value(fisco.trusted(1)),
        "sealers_height": 0,
        "recorded_height": 40,
    }
    kept = {"header_hash": "0a" * 32, "recorded_height": 39}
    places = {client_key(CHAIN): client, acknowledgement_key(CHAIN, 2, 1): kept}
    keeping(monkeypatch, {f"observed/{key}": value for key, value in places.items()})
    latest = observed("recorded", CHAIN, "-o", "json").json
    assert (latest["status"], latest["height"], latest["recorded_height"]) == ("ACTIVE", 1, 40)
    assert latest["header_hash"] == fisco.trusted(1).header_hash.hex()
    assert observed("recorded", CHAIN, "--height", "1", "-o", "json").json == {
        "chain": CHAIN,
        "status": "ACTIVE",
        "generation": 2,
        "height": 1,
        **kept,
    }
    assert "0a" * 32 in observed("recorded", CHAIN, "--height", "1").out
    missing = observed("recorded", CHAIN, "--height", "2")
    assert "HEIGHT_UNKNOWN" in missing.err


def test_a_chain_that_nobody_began_is_unknown(
    observed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping(monkeypatch, {})
    told = observed("recorded", CHAIN)
    assert told.code != 0
    assert "CLIENT_UNKNOWN" in told.err
