"""A folder goes by a restart or it does not, whatever fails on the way: pbft.md, Q5 and Q6."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.restart import Restart
from services.consensus.chain_sets import ChainSets
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.restart import put_in_force
from services.consensus.store import ChainStore, DataFolderInUseError, FileOperations, StorageError
from services.consensus.store.errors import RestartDamagedError
from services.consensus.store.files import SYSTEM_FILES
from services.consensus.store.restarts import Restarts
from tests.crash.sweep import FaultyFiles, faults_of
from tests.crash.writer import fork
from tests.integration.node.memory_chain import memory_chain
from tests.integration.node.test_restart_in_memory import Lab, lose_quorum, network_of
from tests.plugins.ceremony import OPTIONS, Authorities
from tests.plugins.flipping import flipped

NUMBER = 1
PROVIDER = open_provider()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A survivor's folder with a block above the last certified one, and the restart."""

    folder: Path
    genesis: Genesis
    height: int
    restart: Restart
    other: Restart

    def put_in_force(
        self, place: Path, files: FileOperations | None = None, restart: Restart | None = None
    ) -> bool:
        options = OPTIONS if files is None else replace(OPTIONS, files=files)
        chosen = restart or self.restart
        return put_in_force(place, self.genesis, NUMBER, chosen, PROVIDER.verify, options)

    @contextmanager
    def opened(self, place: Path) -> Iterator[ChainStore]:
        store = ChainStore.open(place, self.genesis, replica=NUMBER, options=OPTIONS)
        yield store
        store.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("chain")

    async def prepare() -> Prepared:
        authorities = Authorities.create(PROVIDER)
        network = network_of(folder, authorities)
        async with memory_chain(folder / "data", network.genesis, network.vote_keys) as chain:
            lab = Lab(chain, network, authorities)
            height, _ = await lose_quorum(lab)
            statement = lab.statement(0, NUMBER)
            restart = lab.ceremony.approve(statement)
            other = lab.ceremony.approve(replace(statement, reason="另一份声明"))
            return Prepared(chain.folder_of(NUMBER), chain.genesis, height, restart, other)

    return asyncio.run(prepare())


def check_goes_by_it(prepared: Prepared, place: Path) -> None:
    with prepared.opened(place) as store:
        assert list(store.restarts) == [prepared.restart]
        assert (store.last_height, store.last_certified) == (prepared.height, prepared.height)
        store.verify_state()
        sets = ChainSets(store, prepared.genesis)
        assert sets.set_at(prepared.height + 1) == prepared.restart.statement.new_set
        assert sets.set_at(prepared.height) == prepared.genesis.replica_set
        assert sets.epoch_base(1) == prepared.height
        assert sets.epoch_end(0) == prepared.height


@pytest.mark.req("G2-13-2", "G2-07-3")
def test_a_failure_at_any_operation_leaves_the_old_or_the_new(
    prepared: Prepared, tmp_path: Path
) -> None:
    """In the manner of T-12: and whichever it is, doing it again ends with the new."""
    place = tmp_path / "place"

    def run_quietly(files: FileOperations, _: Callable[[str], None]) -> None:
        prepared.put_in_force(place, files)

    counted = FaultyFiles()
    shutil.copytree(prepared.folder, place)
    assert prepared.put_in_force(place, counted.operations())
    check_goes_by_it(prepared, place)
    found = set()
    for fault, at in faults_of(counted.kinds):
        shutil.rmtree(place)
        shutil.copytree(prepared.folder, place)
        child = fork(partial(run_quietly, FaultyFiles(fault, at).operations()))
        child.wait()
        os.close(child.lines)
        with prepared.opened(place) as store:
            goes_by_it = bool(store.restarts)
            kept = (store.last_height, goes_by_it)
            assert kept in {(prepared.height + 1, False), (prepared.height, True)}
        found.add(goes_by_it)
        assert prepared.put_in_force(place) is not goes_by_it
        check_goes_by_it(prepared, place)
    assert found == {False, True}


@pytest.mark.req("G2-13-2")
def test_doing_it_again_changes_nothing_and_another_restart_is_refused(
    prepared: Prepared, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    shutil.copytree(prepared.folder, place)
    assert prepared.put_in_force(place)
    assert not prepared.put_in_force(place)
    with pytest.raises(ProofError, match="began otherwise") as refused:
        prepared.put_in_force(place, restart=prepared.other)
    assert refused.value.code == "RESTART_APPLIED"
    check_goes_by_it(prepared, place)


@pytest.mark.req("G2-13-2", "G2-16-4")
def test_a_replica_that_runs_and_a_restart_that_does_not_hold_change_nothing(
    prepared: Prepared, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    shutil.copytree(prepared.folder, place)
    with prepared.opened(place), pytest.raises(DataFolderInUseError):
        prepared.put_in_force(place)
    left = replace(prepared.restart, approvals=prepared.restart.approvals[1:])
    with pytest.raises(ProofError, match="not approved by csrc"):
        prepared.put_in_force(place, restart=left)
    with prepared.opened(place) as store:
        assert (store.restarts, store.last_height) == ((), prepared.height + 1)


@pytest.mark.req("G2-13-2", "G2-07-3")
def test_the_index_is_built_again_without_what_is_void(prepared: Prepared, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(prepared.folder, place)
    prepared.put_in_force(place)
    shutil.rmtree(place / "index")
    check_goes_by_it(prepared, place)


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("damage", ["gone", "cut off", "zeros", "empty", "a vote key"])
def test_a_folder_whose_restart_is_gone_or_damaged_does_not_open(
    prepared: Prepared, tmp_path: Path, damage: str
) -> None:
    """It must not vote in the epoch that is over as if nothing had been."""
    place = tmp_path / "place"
    shutil.copytree(prepared.folder, place)
    prepared.put_in_force(place)
    (file,) = (place / "restarts").glob("*.restart")
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(spoilt(data, damage, prepared.restart))
    with pytest.raises(StorageError, match="restart"), prepared.opened(place):
        pass
    file.write_bytes(data)
    check_goes_by_it(prepared, place)


def spoilt(data: bytes, damage: str, restart: Restart) -> bytes:
    """The file with one damage; of a vote key of the new set one bit."""
    match damage:
        case "cut off":
            return data[:-1]
        case "zeros":
            return bytes(len(data))
        case "empty":
            return b""
    key = restart.statement.new_set.members[0].public_key
    return flipped(data, data.rindex(key) + 30)


@pytest.mark.req("G2-13-2")
def test_no_flipped_bit_of_a_restart_is_taken(prepared: Prepared, tmp_path: Path) -> None:
    """Every byte of the file: a wrong replica set would be in force, and nothing would say so."""
    restarts = Restarts(tmp_path, SYSTEM_FILES)
    restarts.keep(prepared.restart)
    (file,) = (tmp_path / "restarts").glob("*.restart")
    data = file.read_bytes()
    assert Restarts(tmp_path, SYSTEM_FILES).known == (prepared.restart,)
    for place in range(len(data)):
        file.write_bytes(flipped(data, place))
        with pytest.raises(RestartDamagedError):
            Restarts(tmp_path, SYSTEM_FILES)
