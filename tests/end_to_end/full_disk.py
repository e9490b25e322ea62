"""Plays a full disk: `python -m tests.end_to_end.full_disk FOLDER`, with mounts of its own.

The network's folder lies on a small file system in memory that only this process and its children
see. It is filled under an import until replicas stop voting, then to the last byte, then emptied.
Prints one JSON object; any promise that does not hold ends it with an assertion.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import grpc

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.consensus.v1.node_service_pb2_grpc import NodeServiceStub
from guqiao_sdk.channel import NO_RETRIES, open_channel
from guqiao_sdk.client.transactions import transaction_to_message
from guqiao_sdk.errors import error_from_rpc
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.signing import RequestSigner
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import BASIC, OneMachine, wait_until

DISK_BYTES: Final = 640 * 1024 * 1024
BELOW_RESERVE_BYTES: Final = 48 * 1024 * 1024
"""Left free at first: less than the 64 MiB reserve of a replica, enough for everything else."""


RESUMED: Final = "replica.resumed"


def fill(ballast: Path, left_bytes: int) -> None:
    """Take all space but so much."""
    with ballast.open("ab") as file:
        chunk = bytes(1024 * 1024)
        while (free := shutil.disk_usage(ballast.parent).free) > left_bytes:
            try:
                file.write(chunk[: min(len(chunk), free - left_bytes)])
                file.flush()
            except OSError:
                return  # Somebody else took the last of it.


def said(machine: OneMachine, process: str, text: str) -> bool:
    """Whether the process's log holds a text."""
    return text in machine.network.layout.log(process).read_text(errors="replace")


def play(disk: Path) -> dict[str, object]:
    """The scenario; `disk` is empty and not mounted yet."""
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], check=True)
    machine, ballast = OneMachine(disk / "data"), disk / "ballast"
    try:
        machine.up()
        fill(ballast, BELOW_RESERVE_BYTES)
        replicas = [f"shandong-{number}" for number in range(4)]
        wait_until("all pause", lambda: all(said(machine, name, "DISK_FULL") for name in replicas))
        roster = machine.must("register", "roster").out
        refused = refused_submission(machine)
        assert machine.must("register", "roster").out == roster, "nothing moved"
        refused_start = start_one(machine)
        fill(ballast, 0)
        os.kill(machine.postgres_pid(), 9)  # It cannot come back while the disk is full.
        wait_until("postgres is missed", lambda: "postgres" in machine.supervisor_log())
        away = machine.run("register", "roster")
        ballast.unlink()
        machine.must("dev", "node", "start", "shandong/3")
        wait_until("all resume", lambda: all(said(machine, name, RESUMED) for name in replicas[:3]))
        machine.wait_ready()
        results = disk / "results.csv"
        machine.must("import", BASIC, "--results", results)
        expected = BASIC / "expected"
        assert results.read_bytes() == (expected / "results.csv").read_bytes()
        wanted = (expected / "roster.csv").read_text(encoding="utf-8")
        wait_until("roster", lambda: machine.must("register", "roster").out == wanted)
        return {"refused": refused, "refused_start": refused_start, "away": [away.code, away.error]}
    finally:
        machine.close()


def start_one(machine: OneMachine) -> list[object]:
    """A replica that is started on the full disk."""
    machine.must("dev", "node", "stop", "shandong/3")
    answer = machine.run("dev", "node", "start", "shandong/3")
    return [answer.code, "DISK_FULL" in answer.err]


def refused_submission(machine: OneMachine) -> str:
    """The code that a replica gives to a transaction while it is paused."""
    provider, network = open_provider(), machine.network
    maker = open_identity(network, provider, MARKET, "maker")
    signer = RequestSigner(
        maker.did, maker.key_id, maker.private_key, provider, MARKET, "consensus/0"
    )

    async def submit() -> str:
        async with open_chain(network, provider, MARKET, maker) as client:
            transaction = await client.build("register", "open_account", {"evidence": []})
        request = node.SubmitTransactionRequest(
            transaction=transaction_to_message(transaction), wait_final=True
        )
        address = network.address(f"{MARKET}-0.grpc")
        async with open_channel(address, signer, retry=NO_RETRIES) as channel:
            try:
                await NodeServiceStub(channel).SubmitTransaction(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                return error_from_rpc(error).code
        return ""

    return asyncio.run(submit())


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
