"""`guqiao chain` on a running network: the market's chain is registered, updated and suspended.

Goal: what operator, province and CSRC do by hand, through real signatures, limits and proofs of
state, while packets of the chain travel; with the ways to do it wrong.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk.gm.certificates import CertificateAuthority
from guqiao_sdk.gm.keyfile import load_private_key, save_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiaoctl.network.parties import ENTITIES, MARKET
from tests.end_to_end.harness import TINY, OneMachine, wait_until
from tests.end_to_end.registered import probes_of

REGISTRATION: Final = "6453416b-fe1f-456e-a698-af9f2dc96f61"
"""A request of market-tiny that sends a data object."""

SIGNERS: Final = ("maker", "checker", "institution")

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-10-1", "G2-05-1", "G2-10-3")]


def status(machine: OneMachine) -> str:
    return str(shown(machine)["standing"]["status"])


def shown(machine: OneMachine) -> dict[str, Any]:
    found: dict[str, Any] = machine.must("chain", "show", MARKET, "-o", "json").json()
    return found


def refused(machine: OneMachine, code: int, error: str, *arguments: object) -> None:
    ended = machine.run("chain", *arguments)
    assert (ended.code, ended.error) == (code, error), ended.err


def test_the_markets_chain_is_registered_updated_and_suspended(
    unregistered_machine: OneMachine, tmp_path: Path
) -> None:
    machine, file = unregistered_machine, tmp_path / "registration.json"
    refused(machine, 3, "CHAIN_UNKNOWN", "show", MARKET)
    machine.must("chain", "draft", "--out", file)
    value = json.loads(file.read_bytes())
    ended = machine.run("chain", "register", file)
    assert ended.error == "CERTIFICATE_UNTRUSTED", ended.err
    root = machine.network.layout.authority(MARKET) / "ca.pem"
    machine.must("chain", "trust-root", root)
    refused(machine, 5, "CRL_MISSING", "register", file)
    publish_lists(machine, root.parent)

    digest = machine.must("chain", "register", file).out.split()[1]
    refused(machine, 5, "CHAIN_ID_TAKEN", "register", file)
    machine.must("chain", "return", MARKET, "--as-province", "--reason", "补充材料")
    machine.must("chain", "resubmit", file)
    refused(machine, 5, "ILLEGAL_TRANSITION", "approve", MARKET)
    refused(machine, 5, "CHAIN_REGISTRATION_OTHER", "countersign", MARKET, "--digest", "ab" * 32)
    machine.must("chain", "countersign", MARKET, "--digest", digest)
    file_certificates(machine, tmp_path / "seals")
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
    change_a_key(machine, value, tmp_path)


def publish_lists(machine: OneMachine, folder: Path) -> None:
    """As a timer does, twice; the gateway shows when the list ends."""
    known = ("chain", "publish-crl", "--from", folder, "-o", "json")
    [first] = machine.must(*known).json()
    assert first["outcome"] == "PUBLISHED"
    [again] = machine.must(*known).json()
    assert again["outcome"] == "PRESENT"
    refused(machine, 5, "CRL_OLDER", "publish-crl", folder / "crl.pem")

    def lists() -> Any:
        told = machine.must("gateway", "status", "--domain", "csrc", "-o", "json").json()
        return told["revocation_lists"]

    wait_until("the gateway knows the list", lambda: len(lists()) == 1)
    assert (lists()[0]["number"], lists()[0]["ends_soon"]) == (again["detail"], False)


def file_certificates(machine: OneMachine, folder: Path) -> None:
    """Of those who sign what is imported: what they seal is taken after the approval."""
    machine.must("chain", "draft-certificates", "--out", folder)
    layout = machine.network.layout
    refused(
        machine, 2, "CERTIFICATE_PURPOSE_WRONG",
        "file-certificate", MARKET, layout.authority(MARKET) / "ca.pem",
    )  # fmt: skip
    signers = [folder / f"{name}.pem" for name in SIGNERS]
    machine.must("chain", "file-certificate", MARKET, *signers)


def change_a_key(machine: OneMachine, value: dict[str, Any], folder: Path) -> None:
    """The market's entities replace a vote key and tell nobody: what they report then waits until
    the registration is that of who signs.
    """
    provider = open_provider()
    key = provider.keygen()
    save_private_key(folder / "next.key", key)
    change = ["--governor", 0, "--replace", f"3={key.public_key.hex()}"]
    proposal = machine.must("governance", "propose", "--chain", MARKET, *change).out.strip()
    for governor in (1, 2):
        machine.must("governance", "approve", proposal, "--chain", MARKET, "--governor", governor)
    wait_until("the next set is in force", lambda: present_set(machine)["epoch"] == 1)
    machine.must("import", TINY, "-o", "json")
    wait_until("the drift is seen", lambda: status(machine) == "STALE")
    assert shown(machine)["stale"]["epoch"] == 1
    found = machine.must("tx", "find", REGISTRATION, "-o", "json").json()
    options = (found["transaction"], "--to", folder / "registration.gqb")
    assert machine.run("tx", "proof", *options).code != 0

    later = stated_with(machine, value, folder)
    machine.must("chain", "update", later)
    machine.must("chain", "accept-update", MARKET, *probes_of(value, folder))
    assert status(machine) == "ACTIVE"
    wait_until("what waited is anchored", lambda: machine.run("tx", "proof", *options).code == 0)
    judge_seals(machine, folder)


def judge_seals(machine: OneMachine, folder: Path) -> None:
    """Whoever has the authority's certificate, its list and the signers' judges seals offline."""
    layout = machine.network.layout
    bundle = ("verify", folder / "registration.gqb", "--trust", layout.trust)
    authority = layout.authority(MARKET)
    lists = ("--seal-authority", authority / "ca.pem", "--seal-crl", authority / "crl.pem")
    certificates = [("--seal-certificate", each) for each in (folder / "seals").iterdir()]
    whole = [*bundle, *lists, *(each for pair in certificates for each in pair)]
    told = machine.must(*whole, "-o", "json").json()
    assert told["sealed_by"] == ENTITIES[MARKET][0].name
    ended = machine.run(*bundle, *lists)
    assert (ended.code, ended.error) == (7, "SEAL_UNCERTIFIED"), ended.err


def present_set(machine: OneMachine) -> dict[str, Any]:
    arguments = ("governance", "status", "--chain", MARKET, "-o", "json")
    found: dict[str, Any] = machine.must(*arguments).json()
    return found


def stated_with(machine: OneMachine, value: dict[str, Any], folder: Path) -> Path:
    """The registration with the next key, its certificate and the proof of holding it."""
    provider, layout = open_provider(), machine.network.layout
    row, entity = value["validators"][3], ENTITIES[MARKET][3]
    told = machine.must(
        "chain", "prove-key", MARKET, row["node_id"], "--key", folder / "next.key"
    ).json()
    authority = CertificateAuthority(
        provider,
        (layout.authority(MARKET) / "ca.pem").read_bytes(),
        load_private_key(layout.authority(MARKET) / "ca.key", provider),
    )
    now = datetime.now(UTC)
    certificate = authority.issue(
        entity.member("next"), bytes.fromhex(told["sm2_pubkey"]), organisation=entity.name,
        common_name="next", not_before=now - timedelta(minutes=5),
        not_after=now + timedelta(days=30),
    )  # fmt: skip
    value["validators"][3] = {**row, **told, "cert": certificate.decode()}
    members = tuple(
        Member(
            number, bytes.fromhex(each["sm2_pubkey"]), each["entity"]["uscc"],
            each["entity"]["name"],
        )
        for number, each in enumerate(value["validators"])
    )  # fmt: skip
    own_hash = ReplicaSet(MARKET, 1, members).hash().hex()
    trusted = {"height": 1, "hash": "9c" * 32, "validator_set_hash": own_hash}
    value |= {"epoch": 1, "trusted_header": trusted}
    path = folder / "later.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
