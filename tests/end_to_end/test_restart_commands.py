"""`guqiao restart` on a network of one machine: two of four replicas are lost, two new ones come.

Goal: the whole ceremony as people do it, with every way to do it wrong, and that afterwards
everybody has followed: gateways, the other chain's light client, an auditor with a bundle.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.keyfile import save_private_key
from guqiao_sdk.gm.provider import PrivateKey, open_provider
from guqiaoctl.network.parties import CSRC, ENTITIES, MARKET, synthetic_uscc
from tests.end_to_end.harness import TINY, OneMachine, wait_until
from tests.end_to_end.registered import state_next_set
from tests.end_to_end.test_governance_commands import REGISTRATION

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.crash,
    pytest.mark.req("G2-13-2", "G2-16-3", "G2-07-2"),
]

SURVIVORS, LOST = (0, 1), (2, 3)
NEWCOMERS = {number: (f"新机构{number}（演示）", synthetic_uscc(410 + number)) for number in LOST}


def config(machine: OneMachine, number: int) -> Path:
    return machine.folder / "processes" / f"{MARKET}-{number}" / "settings.toml"


def key_file(machine: OneMachine, name: str) -> Path:
    return machine.folder / "identities" / f"{name}.pem"


def node(machine: OneMachine, command: str, *numbers: int) -> None:
    for number in numbers:
        machine.must("dev", "node", command, f"{MARKET}/{number}")


def status(machine: OneMachine) -> dict[str, Any]:
    found: dict[str, Any] = machine.must(
        "governance", "status", "--chain", MARKET, "-o", "json"
    ).json()
    return found


def write_members(machine: OneMachine, file: Path) -> dict[int, PrivateKey]:
    """The first two as they are, two other entities with their governors; their vote keys."""
    present = status(machine)
    members = [
        {name: member[name] for name in ("entity_id", "entity_name", "vote_key")}
        for member in present["members"]
    ]
    keys = {number: open_provider().keygen() for number in LOST}
    governors = []
    for number, key in keys.items():
        name, code = NEWCOMERS[number]
        members[number] = {
            "entity_id": code,
            "entity_name": name,
            "vote_key": key.public_key.hex(),
        }
        governors.append(
            {
                "did": f"did:rem:{MARKET}:{code}.governor",
                "organisation": f"did:rem:{MARKET}:{code}",
                "roles": ["governor"],
                "keys": [
                    {
                        "id": "k1",
                        "public_key": open_provider().keygen().public_key.hex(),
                        "not_before_ms": 0,
                        "not_after_ms": 4 * 10**12,
                    }
                ],
            }
        )
    file.write_text(json.dumps({"members": members, "governors": governors}))
    return keys


def propose(machine: OneMachine, members: Path, to: Path, *more: object) -> list[object]:
    configs = [word for number in SURVIVORS for word in ("--config", config(machine, number))]
    return [
        *("restart", "propose", *configs, "--file", members),
        *("--reason", "两家机构的机房失火", "--to", to, *more),
    ]


def refused(machine: OneMachine, words: list[object], code: str) -> None:
    """In both languages, with one code."""
    for language in ("en", "zh"):
        answer = machine.run(*words, language=language)
        assert answer.error == code, answer.err[-2000:]
        assert answer.code in (2, 5, 6, 7)


def test_a_chain_that_lost_its_quorum_is_restarted_and_everybody_follows(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    machine, file, members = one_machine, tmp_path / "restart", tmp_path / "members.json"
    wait_until("a block is certified", lambda: status(machine)["height"] > 0)
    keys = write_members(machine, members)
    refused(machine, propose(machine, members, file), "DATA_FOLDER_IN_USE")
    node(machine, "stop", *SURVIVORS)
    refused(machine, propose(machine, members, file), "RESTART_QUORUM_STANDS")
    node(machine, "start", *SURVIVORS)
    node(machine, "kill", *LOST)
    wait_until("the survivors have no quorum", lambda: is_stuck(machine))
    machine.must("dev", "down")
    for number in LOST:
        shutil.rmtree(config(machine, number).parent / "data")
        vote_key = config(machine, number).parent / "vote.key"
        vote_key.unlink()
        save_private_key(vote_key, keys[number])
    digest = machine.must(*propose(machine, members, file)).out.strip()
    approve_all(machine, file, tmp_path)
    shown = machine.must("restart", "show", file, "-o", "json").json()
    assert (shown["statement"], shown["epoch"], shown["missing"]) == (digest, 1, [])
    assert [row["stays"] for row in shown["members"]] == [True, True, False, False]
    for number in (*SURVIVORS, *LOST):
        applied = machine.must("restart", "apply", file, "--config", config(machine, number))
        assert applied.out.strip() == shown["file"]
    machine.must("restart", "apply", file, "--config", config(machine, 0))
    machine.up()
    refused(
        machine, ["restart", "apply", file, "--config", config(machine, 0)], "DATA_FOLDER_IN_USE"
    )
    state_next_set(machine, keys, tmp_path, NEWCOMERS)
    check_everybody_follows(machine, shown, tmp_path)


def is_stuck(machine: OneMachine) -> bool:
    """Whether the first replica says that it has no quorum, and nothing can be decided."""
    found = next(p for p in machine.status()["processes"] if p["name"] == f"{MARKET}-0")
    return "2 replicas linked, 3 needed" in json.dumps(found)


def approve_all(machine: OneMachine, file: Path, folder: Path) -> None:
    """Each signer once, in any order, with what may go wrong on the way."""
    genesis = ("--genesis", machine.folder / "genesis" / f"{MARKET}.json")
    csrc = ["restart", "approve", file, "--as", "csrc", "--key", key_file(machine, "restart-csrc")]
    refused(machine, csrc, "REQUEST_MALFORMED")
    other = ("--genesis", machine.folder / "genesis" / f"{CSRC}.json")
    refused(machine, [*csrc, *other], "RESTART_OTHER_GENESIS")
    stranger = [*csrc[:-1], key_file(machine, "restart-province"), *genesis]
    refused(machine, stranger, "RESTART_APPROVAL_INVALID")
    machine.must(*csrc, *genesis)
    first = file.read_bytes()
    machine.must(*csrc, *genesis)
    assert file.read_bytes() == first, "again is the same"
    second = folder / "second"
    configs = [word for number in SURVIVORS for word in ("--config", config(machine, number))]
    members = folder / "members.json"
    another = ("--reason", "另一份声明", "--to", second)
    machine.must("restart", "propose", *configs, "--file", members, *another)
    refused(machine, ["restart", "approve", second, *csrc[3:], *genesis], "RESTART_SIGNED_ANOTHER")
    refused(
        machine,
        ["restart", "apply", file, "--config", config(machine, 0)],
        "RESTART_APPROVAL_MISSING",
    )
    for number in reversed(SURVIVORS):
        entity = ENTITIES[MARKET][number].uscc
        words: list[object] = ["restart", "approve", file, "--as", entity]
        words += ["--key", key_file(machine, f"{MARKET}-governor-{number}")]
        refused(machine, [*words, *genesis], "REQUEST_MALFORMED")
        machine.must(*words, "--config", config(machine, number))
    gone = ENTITIES[MARKET][2].uscc
    lost = ["restart", "approve", file, "--as", gone]
    lost += ["--key", key_file(machine, f"{MARKET}-governor-2")]
    refused(machine, [*lost, "--config", config(machine, 0)], "RESTART_INVALID")
    province = key_file(machine, "restart-province")
    machine.must("restart", "approve", file, "--as", "province", "--key", province, *genesis)


def check_everybody_follows(machine: OneMachine, shown: dict[str, Any], folder: Path) -> None:
    """New registrations are anchored at the other chain, whose light client took the restart."""
    wait_until("the new epoch certifies", lambda: status(machine)["height"] > shown["height"])
    assert status(machine)["epoch"] == 1
    assert machine.must("import", TINY, "-o", "json").json()["accepted"] > 0
    found = machine.must("tx", "find", REGISTRATION, "-o", "json").json()
    bundle = folder / "registration.gqb"

    def is_proven() -> bool:
        return machine.run("tx", "proof", found["transaction"], "--to", bundle).code == 0

    wait_until("the registration is anchored behind the restart", is_proven)
    trust = machine.folder / "trust.json"
    judged = machine.must("verify", bundle, "--trust", trust, "-o", "json").json()
    assert judged["outcome"] == "accepted"
