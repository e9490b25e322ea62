"""`guqiao restart` upon the folders of stopped replicas: what is refused, with which code."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from guqiao_sdk.gm.keyfile import save_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands.restarting import apply, approve, propose, read_restart, show
from guqiaoctl.failures import CliError
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.store import ChainStore, DataFolderInUseError
from tests.integration.node.memory_chain import memory_chain
from tests.integration.node.test_restart_in_memory import network_of
from tests.integration.node.test_set_changes_in_memory import register
from tests.plugins.ceremony import OPTIONS, Authorities
from tests.plugins.chain_network import ChainNetwork

ENTITIES = [f"91370000TEST00000{number}" for number in range(4)]


@dataclass(frozen=True, slots=True)
class Stopped:
    """Replica 1 holds one certified block more than replica 0; 2 and 3 are gone."""

    network: ChainNetwork
    kept: Path
    low: int
    high: int

    def config(self, number: int) -> Path:
        return self.network.replicas[number].config

    def key(self, name: str) -> Path:
        return self.network.folder / f"{name}.pem"

    @property
    def genesis(self) -> Path:
        return self.network.folder / "genesis.json"

    def lay_out(self) -> None:
        """Every test finds the folders as they were."""
        for replica in self.network.replicas:
            shutil.rmtree(replica.folder, ignore_errors=True)
        for number in (0, 1):
            shutil.copytree(self.kept / f"member{number}", self.network.replicas[number].folder)
        for note in self.network.folder.glob("*.restart"):
            note.unlink()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("chain")
    authorities = Authorities.create(open_provider())
    network = network_of(folder, authorities)

    async def prepare() -> Stopped:
        async with memory_chain(folder / "data", network.genesis, network.vote_keys) as chain:
            members = [await chain.start(number) for number in range(4)]
            low = await register(members[0], network, "low")
            await chain.wait_for(lambda: all(m.finality.certified_height >= low for m in members))
            await chain.stop(0)
            high = await register(members[1], network, "high")
            await chain.wait_for(lambda: members[1].finality.certified_height >= high)
            return Stopped(network, folder / "data", low, high)

    found = asyncio.run(prepare())
    save_private_key(found.key("csrc"), authorities.csrc)
    save_private_key(found.key("province"), authorities.province)
    for number in range(4):
        governor = network.identities[f"{number}/governor"]
        save_private_key(found.key(f"governor{number}"), governor.private_key)
    return found


@pytest.fixture
def stopped(network: Stopped) -> Stopped:
    network.lay_out()
    return network


@pytest.fixture
def members(stopped: Stopped, tmp_path: Path) -> Path:
    """The next set: the first two stay."""
    present = json.loads(stopped.genesis.read_bytes())["replicas"]
    for number in (2, 3):
        present[number] = {
            "entity_id": f"91370000NEWS00000{number}",
            "entity_name": f"新机构{number}",
            "vote_key": open_provider().keygen().public_key.hex(),
        }
    file = tmp_path / "members.json"
    file.write_text(json.dumps({"members": present}))
    return file


def proposed(stopped: Stopped, members: Path, to: Path, *survivors: int) -> Path:
    configs = [stopped.config(number) for number in survivors]
    propose(to.parent, configs, file=members, replace_keys=[], reason="机房失火", to=to)
    return to


def approved(stopped: Stopped, file: Path) -> Path:
    for name in ("csrc", "province"):
        approve(file, name, stopped.key(name), genesis_file=stopped.genesis, config=None)
    for number in (0, 1):
        by_entity(stopped, file, number)
    return file


def by_entity(stopped: Stopped, file: Path, number: int) -> None:
    key = stopped.key(f"governor{number}")
    approve(file, ENTITIES[number], key, genesis_file=None, config=stopped.config(number))


def refused(code: str, act: Callable[[], object]) -> CliError:
    """With one code, and a remedy in both languages."""
    with pytest.raises(CliError) as error:
        act()
    assert error.value.code == code, error.value
    assert all(text and remedy for text, remedy in error.value.texts.values())
    return error.value


@pytest.mark.req("G2-13-2")
def test_the_ceremony_puts_every_survivor_behind_the_highest_block(
    stopped: Stopped, members: Path, tmp_path: Path
) -> None:
    file = approved(stopped, proposed(stopped, members, tmp_path / "restart", 0, 1))
    assert read_restart(file).statement.height == stopped.high
    show(file, other=None, as_json=False)
    for number in (0, 1, 2):
        apply(file, stopped.config(number))
        apply(file, stopped.config(number))


@pytest.mark.req("G2-13-2")
def test_a_statement_below_what_an_entity_holds_is_neither_approved_nor_applied(
    stopped: Stopped, members: Path, tmp_path: Path
) -> None:
    """Replica 1 was left out when the statement was made."""
    low = proposed(stopped, members, tmp_path / "low", 0)
    assert read_restart(low).statement.height == stopped.low
    by_entity(stopped, low, 0)
    refused("RESTART_TOO_LOW", lambda: by_entity(stopped, low, 1))
    refused("RESTART_TOO_LOW", lambda: apply(low, stopped.config(1)))


@pytest.mark.req("G2-13-2", "G2-16-4")
def test_what_lacks_approvals_or_came_second_is_not_applied(
    stopped: Stopped, members: Path, tmp_path: Path
) -> None:
    file = proposed(stopped, members, tmp_path / "restart", 0, 1)
    missing = refused("RESTART_APPROVAL_MISSING", lambda: apply(file, stopped.config(1)))
    for signer in ("csrc", "province", *ENTITIES[:2]):
        assert signer in missing.texts["en"][0]
    approved(stopped, file)
    second = proposed(stopped, members, tmp_path / "second", 0, 1)
    assert read_restart(second).statement != read_restart(file).statement
    refused("RESTART_SIGNED_ANOTHER", lambda: approved(stopped, second))
    apply(file, stopped.config(1))
    for note in stopped.network.folder.glob("*.restart"):
        note.unlink()
    refused("RESTART_APPLIED", lambda: apply(approved(stopped, second), stopped.config(1)))


@pytest.mark.req("G2-16-4")
def test_who_signs_two_of_them_all_the_same_is_named(
    stopped: Stopped, members: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = approved(stopped, proposed(stopped, members, tmp_path / "restart", 0, 1))
    second = proposed(stopped, members, tmp_path / "second", 0, 1)
    for note in stopped.network.folder.glob("csrc.pem.*.restart"):
        note.unlink()
    key = stopped.key("csrc")
    approve(second, "csrc", key, genesis_file=stopped.genesis, config=None)
    capsys.readouterr()
    show(file, other=second, as_json=True)
    assert json.loads(capsys.readouterr().out)["signed_both"] == ["csrc"]


@pytest.mark.req("G2-16-3", "G2-07-2", "G2-13-2")
def test_sets_against_the_rules_and_replicas_that_run_are_refused(
    stopped: Stopped, members: Path, tmp_path: Path
) -> None:
    to, body = tmp_path / "restart", json.loads(members.read_bytes())

    def with_members(rows: list[Json]) -> Path:
        file = tmp_path / "wrong.json"
        file.write_text(json.dumps({**body, "members": rows}))
        return file

    rows, old = body["members"], json.loads(stopped.genesis.read_bytes())["replicas"]
    three = with_members(rows[:3])
    refused("REPLICAS_TOO_FEW", lambda: proposed(stopped, three, to, 0, 1))
    standing = with_members([*old[:3], rows[3]])
    refused("RESTART_QUORUM_STANDS", lambda: proposed(stopped, standing, to, 0, 1))
    nobody = with_members([{**row, "entity_id": f"X{at}"} for at, row in enumerate(rows)])
    refused("RESTART_INVALID", lambda: proposed(stopped, nobody, to, 0, 1))
    replica = stopped.network.replicas[1]
    genesis = parse_genesis(stopped.genesis.read_bytes())
    store = ChainStore.open(replica.folder, genesis, replica=1, options=OPTIONS)
    with pytest.raises(DataFolderInUseError):
        proposed(stopped, members, to, 0, 1)
    store.close()
    assert not to.exists()


def test_what_is_no_restart_and_who_is_not_asked_is_refused(
    stopped: Stopped, members: Path, tmp_path: Path
) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish")
    refused("RESTART_INVALID", lambda: apply(rubbish, stopped.config(0)))
    file = proposed(stopped, members, tmp_path / "restart", 0, 1)
    key = stopped.key("governor2")
    refused(
        "RESTART_INVALID",
        lambda: approve(file, ENTITIES[2], key, genesis_file=None, config=stopped.config(0)),
    )
    refused(
        "RESTART_APPROVAL_INVALID",
        lambda: approve(file, ENTITIES[0], key, genesis_file=None, config=stopped.config(0)),
    )
