"""`guqiao chain` on a running network: the market's chain is registered, updated and suspended.

Goal: what operator, province and CSRC do by hand, through real signatures, limits and proofs of
state, while packets of the chain travel; with the ways to do it wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import OneMachine

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-10-1", "G2-05-1", "G2-10-3")]


def status(machine: OneMachine) -> str:
    return str(shown(machine)["standing"]["status"])


def shown(machine: OneMachine) -> dict[str, Any]:
    found: dict[str, Any] = machine.must("chain", "show", MARKET, "-o", "json").json()
    return found


def probes_of(value: dict[str, Any], folder: Path) -> list[object]:
    """The options of a report on a test that was passed."""
    probes = [
        {"url": each["url"], "chain_id": MARKET, "height": 7} for each in value["rpc_endpoints"]
    ]
    (folder / "probes.json").write_text(json.dumps(probes), encoding="utf-8")
    (folder / "report").write_text("全部通过", encoding="utf-8")
    return ["--report", folder / "report", "--probes", folder / "probes.json"]


def refused(machine: OneMachine, code: int, error: str, *arguments: object) -> None:
    ended = machine.run("chain", *arguments)
    assert (ended.code, ended.error) == (code, error), ended.err


def test_the_markets_chain_is_registered_updated_and_suspended(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    machine, file = one_machine, tmp_path / "registration.json"
    refused(machine, 3, "CHAIN_UNKNOWN", "show", MARKET)
    machine.must("chain", "draft", "--out", file)
    value = json.loads(file.read_bytes())
    ended = machine.run("chain", "register", file)
    assert ended.error == "CERTIFICATE_UNTRUSTED", ended.err
    root = machine.network.layout.authority(MARKET) / "ca.pem"
    machine.must("chain", "trust-root", root)

    digest = machine.must("chain", "register", file).out.split()[1]
    refused(machine, 5, "CHAIN_ID_TAKEN", "register", file)
    machine.must("chain", "return", MARKET, "--as-province", "--reason", "补充材料")
    machine.must("chain", "resubmit", file)
    refused(machine, 5, "ILLEGAL_TRANSITION", "approve", MARKET)
    refused(machine, 5, "CHAIN_REGISTRATION_OTHER", "countersign", MARKET, "--digest", "ab" * 32)
    machine.must("chain", "countersign", MARKET, "--digest", digest)
    machine.must("chain", "start-test", MARKET)
    machine.must("chain", "report", MARKET, *probes_of(value, tmp_path))
    machine.must("chain", "approve", MARKET)
    assert status(machine) == "ACTIVE"
    assert shown(machine)["registration"]["registration"] == value
    assert "status: ACTIVE" in machine.must("chain", "show", MARKET).out

    value["rpc_endpoints"][1]["url"] = "tlcp://10.3.0.2:8443"
    file.write_text(json.dumps(value), encoding="utf-8")
    machine.must("chain", "update", file)
    assert shown(machine)["pending"]["registration"] == value
    machine.must("chain", "accept-update", MARKET, *probes_of(value, tmp_path))
    assert shown(machine)["standing"]["version"] == 3

    machine.must("chain", "suspend", MARKET, "--as-province", "--reason", "演练")
    assert status(machine) == "SUSPENDED"
    machine.must("chain", "resume", MARKET, "--reason", "已整改", "--closed", tmp_path / "report")
    assert status(machine) == "ACTIVE"
    machine.must(
        "chain", "exempt", f"{MARKET}-two", "--operator", value["operator"]["uscc"],
        "--reason", "业务隔离",
    )  # fmt: skip
    refused(machine, 5, "DEREGISTRATION_INCOMPLETE", "deregister", MARKET)
