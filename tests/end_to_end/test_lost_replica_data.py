"""Replicas whose data is gone, on a running network and on one that was down."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome
from guqiaoctl.network.clients import open_chain, open_identity
from tests.end_to_end.harness import TINY, OneMachine, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.crash]

TWO_WINDOWS = 17
"""An older chain gives an empty replica no vote before two windows more."""

RESTORED_SECONDS_MAX = 240.0
CALLERS = {"shandong": "maker", "csrc": "supervisor"}


@pytest.fixture(scope="module")
def network(one_machine: OneMachine) -> OneMachine:
    """A network that is long enough in use, so that who lost its data restores for a while."""
    one_machine.must("import", TINY, "-o", "json")
    for chain in CALLERS:
        go_on(one_machine, chain)
    return one_machine


def go_on(machine: OneMachine, chain: str) -> None:
    """Let the chain make two windows of blocks, which its heartbeats would take minutes for."""

    async def submit_each() -> None:
        provider = open_provider()
        caller = open_identity(machine.network, provider, chain, CALLERS[chain])
        body: dict[str, Json] = {"did": caller.did, "role": "observer"}
        async with open_chain(machine.network, provider, chain, caller) as client:
            for _ in range(TWO_WINDOWS):
                asked = await client.build("identity", "grant_role", body)
                assert (await client.submit(asked)).outcome is Outcome.REFUSED

    asyncio.run(submit_each())


def wait_all_ready(machine: OneMachine) -> None:
    wait_until(
        "all ready", lambda: set(machine.states().values()) == {"ready"}, RESTORED_SECONDS_MAX
    )


def lose_data(machine: OneMachine, *replicas: str) -> None:
    for replica in replicas:
        shutil.rmtree(machine.folder / "processes" / replica / "data")


def row(machine: OneMachine, replica: str, language: str) -> str:
    """The line of a replica in what people are shown."""
    lines = machine.must("dev", "status", language=language).out.splitlines()
    return next(line for line in lines if line.startswith(f"{replica} "))


@pytest.mark.req("G2-13-2")
def test_a_replica_without_data_is_started_restores_and_becomes_ready(
    network: OneMachine,
) -> None:
    network.must("dev", "node", "stop", "shandong/2")
    lose_data(network, "shandong-2")
    said = network.must("dev", "node", "start", "shandong/2").said.splitlines()
    assert len(said) == 1
    assert said[0].startswith("shandong-2: restoring (it restores what it lost from the others")
    english, chinese = (row(network, "shandong-2", language) for language in ("en", "zh"))
    assert " restoring " in english
    assert "votes again by itself (height " in english
    assert " restoring " in chinese
    assert "自动恢复投票（高度 " in chinese
    again = network.run("dev", "node", "start", "shandong/2", language="zh")
    assert (again.code, again.error) == (5, "PROCESS_STATE")
    assert "shandong-2 已在运行" in again.err
    go_on(network, "shandong")
    wait_all_ready(network)


@pytest.mark.req("G2-13-2")
def test_a_network_that_was_down_starts_though_one_replica_of_each_chain_has_lost_its_data(
    network: OneMachine,
) -> None:
    lost = ("shandong-0", "csrc-0")
    wait_all_ready(network)
    network.must("dev", "down")
    lose_data(network, *lost)
    said = network.up(language="zh").err
    for replica in lost:
        assert f"{replica}：正在从其他副本恢复丢失的数据" in said
    states = network.states()
    assert {name for name, state in states.items() if state != "ready"} <= set(lost)
    assert network.must("register", "roster").out
    assert network.must("import", TINY, "-o", "json").code == 0
