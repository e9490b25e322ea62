"""What the regulatory chain refuses of a market, or believes no more, and how people get on: by
`guqiao report`, and by another trust for a frozen light client.

Goal: both ceremonies by their commands, with the ways to do them wrong, on one running network.
What is refused is listed at both ends with its remedy, sent again and accepted. A client that froze
begins anew by four persons (ADR 0041), once the market has replaced the keys that signed two
histories, and what the market reported meanwhile is anchored.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk import rules
from guqiao_sdk.gm.keyfile import load_private_key, save_private_key
from guqiao_sdk.gm.provider import PrivateKey, open_provider
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands.chain_calls import accepted, submit
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.parties import CSRC, MARKET
from tests.end_to_end.harness import TINY, OneMachine, wait_until
from tests.end_to_end.registered import state_next_set
from tests.end_to_end.test_governance_commands import approve, propose

pytestmark = pytest.mark.end_to_end

FIRST: Final = 1
OTHER: Final = 2
"""Packets of data objects of market-tiny."""

BLOCKS_MAX: Final = 40
"""Far more than a set that was decided on waits for."""
REASON: Final = "两个分叉均有法定数量签名，市场已更换双签的共识密钥"


# --- Refused objects ------------------------------------------------------------------------------


def rows(machine: OneMachine, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = machine.must("report", "ls", "-o", "json", *options).json()[
        "refused"
    ]
    return found


def amend(
    machine: OneMachine,
    operation: str,
    version: int,
    body: Path | None = None,
    packet: int = FIRST,
) -> None:
    options = [] if body is None else ["--body", body]
    how = ("--version", version, "--remark", "更正", *options)
    machine.must("report", "amend", packet, operation, *how)


def wait_count(machine: OneMachine, count: int, *options: str) -> list[dict[str, Any]]:
    """Until so many are listed; returns them."""
    wait_until(f"{count} are listed", lambda: len(rows(machine, *options)) == count)
    return rows(machine, *options)


def wait_recorded(machine: OneMachine) -> None:
    """Until all that the market sent has come home."""

    def is_home() -> bool:
        status = machine.must("gateway", "status", "-o", "json").json()
        return bool(0 < status["sent"] == status["acknowledged"])

    wait_until("all is acknowledged", is_home)


@pytest.mark.req("N0-42")
def test_what_is_refused_is_listed_sent_again_and_accepted(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    machine, body = one_machine, tmp_path / "body.json"
    body.write_text(json.dumps({"corrected": "更正"}), encoding="utf-8")
    machine.must("import", TINY, "-o", "json")
    wait_recorded(machine)
    assert rows(machine) == []

    amend(machine, "update", 2, body)  # Version 1 comes next.
    [refused] = wait_count(machine, 1)
    assert (refused["code"], refused["version"]) == ("ILLEGAL_TRANSITION", 2)
    at_the_csrc = wait_count(machine, 1, "--domain", "csrc")
    assert [each["packet"] for each in at_the_csrc] == [refused["packet"]]
    rule = rules.rule("ILLEGAL_TRANSITION")
    for language, remedy in (("en", rule.remedy_en), ("zh", rule.remedy_zh)):
        told = machine.must("report", "ls", language=language)
        assert "ILLEGAL_TRANSITION" in told.out + told.err
        assert remedy in told.out + told.err

    refuse_what_is_wrong(machine, refused["packet"], tmp_path)
    machine.must("report", "resubmit", refused["packet"])
    first, again = wait_count(machine, 2)
    assert first["packet"] == refused["packet"]
    assert (again["code"], again["resubmits"]) == ("ILLEGAL_TRANSITION", first["packet"])

    amend(machine, "update", 1, body)
    wait_recorded(machine)
    machine.must("report", "resubmit", again["packet"])
    wait_until("nothing is open", lambda: rows(machine, "--open") == [])
    assert len(rows(machine)) == 2, "what was refused stays on record"
    amend(machine, "delete", 3)
    wait_recorded(machine)
    amend(machine, "update", 4, body)  # What is deleted stays so.
    [late] = wait_count(machine, 1, "--open")
    assert (late["code"], late["version"]) == ("ILLEGAL_TRANSITION", 4)


def refuse_what_is_wrong(machine: OneMachine, packet: int, folder: Path) -> None:
    (folder / "list.json").write_text("[]", encoding="utf-8")
    wrong: list[tuple[list[object], str, int]] = [
        (["resubmit", 10**6], "PACKET_UNKNOWN", 3),
        (["resubmit", packet, "--body", folder / "list.json"], "REQUEST_MALFORMED", 2),
        (["resubmit", packet, "--body", folder / "none.json"], "FILE_UNREADABLE", 3),
        (["amend", 10**6, "update", "--version", 1, "--remark", "x"], "PACKET_UNKNOWN", 3),
        (["amend", FIRST, "replace", "--version", 1, "--remark", "x"], "USAGE_WRONG", 2),
    ]
    for arguments, code, exit_code in wrong:
        ended = machine.run("report", *arguments)
        assert (ended.error, ended.code) == (code, exit_code), (arguments, ended.err)
    assert len(rows(machine)) == 1, "nothing was sent"


# --- A frozen client -----------------------------------------------------------------------------


def shown(machine: OneMachine) -> dict[str, Any]:
    found: dict[str, Any] = machine.must("chain", "show", MARKET, "-o", "json").json()
    return found


def refused(machine: OneMachine, exit_code: int, code: str, *arguments: object) -> None:
    ended = machine.run("chain", *arguments)
    assert (ended.code, ended.error) == (exit_code, code), ended.err


async def newest(machine: OneMachine) -> tuple[BlockHeader, FinalityCertificate]:
    """A certified header of the market's chain."""
    provider = open_provider()
    reader = open_identity(machine.network, provider, CSRC, "gateway")
    async with open_chain(machine.network, provider, MARKET, reader) as client:
        return await client.get_header()


def vote_key(machine: OneMachine, number: int) -> PrivateKey:
    folder = machine.network.layout.process(f"{MARKET}-{number}")
    return load_private_key(folder / "vote.key", open_provider())


def freeze(machine: OneMachine) -> tuple[set[int], int]:
    """Three replicas sign another history of a height; who signed both, and the height."""
    header, certificate = asyncio.run(newest(machine))
    honest = {index for index, _ in certificate.signatures}
    silent = {0, 1, 2, 3} - honest
    liars = sorted([*silent, *sorted(honest)[: 3 - len(silent)]])
    other = replace(header, state_root=bytes([7]) * 32)
    message = checkpoint_sign_bytes(other)
    provider = open_provider()
    signatures = tuple(
        (number, provider.sign(vote_key(machine, number), message)) for number in liars
    )
    false = FinalityCertificate(other.hash(), signatures)
    body: dict[str, Json] = {
        "chain": MARKET,
        "first": {"header": header.encode().hex(), "certificate": certificate.encode().hex()},
        "second": {"header": other.encode().hex(), "certificate": false.encode().hex()},
    }
    call = ("light_client", "submit_misbehaviour", body)
    accepted(asyncio.run(submit(machine.network, CSRC, call, maker="gateway")))
    return honest & set(liars), header.height


def drafted(draft: Path) -> BlockHeader:
    """The header that a draft would trust."""
    header = json.loads(draft.read_bytes())["trust"]["header"]
    return BlockHeader.decode(bytes.fromhex(header))


def give_next_key(machine: OneMachine, number: int) -> PrivateKey:
    """A replica that goes on voting when its key is replaced by this one."""
    folder = machine.network.layout.process(f"{MARKET}-{number}")
    key = open_provider().keygen()
    save_private_key(folder / "next.key", key)
    settings = folder / "settings.toml"
    named = f"next_vote_key_file = {json.dumps(str(folder / 'next.key'))}\n"
    settings.write_text(named + settings.read_text(encoding="utf-8"), encoding="utf-8")
    for command in ("stop", "start"):
        machine.must("dev", "node", command, f"{MARKET}/{number}")
    machine.wait_ready()
    return key


def replace_keys(machine: OneMachine, numbers: set[int], folder: Path) -> None:
    """The market states the next set and its entities decide on it; some blocks later it votes."""
    keys = {number: give_next_key(machine, number) for number in sorted(numbers)}
    state_next_set(machine, keys, folder)
    changes: list[object] = []
    for number, key in keys.items():
        changes += ["--replace", f"{number}={key.public_key.hex()}"]
    proposal = propose(machine, MARKET, *changes)
    for governor in (1, 2):
        approve(machine, MARKET, proposal, governor)


@pytest.mark.req("G2-16-4", "G2-10-3", "G2-16-3")
def test_a_frozen_client_is_replaced_by_four_persons_and_what_waited_is_anchored(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    machine, draft = one_machine, tmp_path / "client.json"
    how = ("--out", draft, "--reason", REASON)
    machine.must("import", TINY, "-o", "json")
    wait_recorded(machine)
    refused(machine, 5, "CLIENT_NOT_FROZEN", "draft-client", MARKET, *how)
    at_fault, fork = freeze(machine)
    assert shown(machine)["client"]["status"] == "FROZEN"

    def is_above_the_fork() -> bool:
        machine.must("chain", "draft-client", MARKET, *how)
        return drafted(draft).height > fork

    wait_until("a block follows", is_above_the_fork)
    refused(machine, 5, "CLIENT_KEY_AT_FAULT", "propose-client", draft)
    replace_keys(machine, at_fault, tmp_path)
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"corrected": "更正"}), encoding="utf-8")
    for version in range(1, BLOCKS_MAX):
        amend(machine, "update", version, body, OTHER)  # Each is a block of its own.
        machine.must("chain", "draft-client", MARKET, *how)
        if drafted(draft).epoch == 1:
            break
    assert drafted(draft).epoch == 1
    status = machine.must("gateway", "status", "-o", "json").json()
    assert status["sent"] > status["acknowledged"], "nothing of a frozen client's chain is taken"
    refused(machine, 5, "CLIENT_PROPOSAL_OTHER", "consent-client", MARKET)
    digest = machine.must("chain", "propose-client", draft).out.split()[1]
    refused(machine, 5, "CLIENT_CONSENT_MISSING", "replace-client", MARKET, "--digest", digest)
    refused(machine, 5, "CLIENT_PROPOSAL_OTHER", "consent-client", MARKET, "--digest", "ab" * 32)
    machine.must("chain", "consent-client", MARKET, "--digest", digest)
    assert shown(machine)["client"]["status"] == "FROZEN"
    machine.must("chain", "replace-client", MARKET, "--digest", digest)

    after = shown(machine)
    assert (after["client"]["status"], after["client"]["generation"]) == ("ACTIVE", 1)
    assert (after["standing"]["status"], after["standing"]["version"]) == ("ACTIVE", 2)
    wait_recorded(machine)
    refused(machine, 5, "CLIENT_NOT_FROZEN", "draft-client", MARKET, *how)
