"""`guqiao governance`: who votes on a chain, and how its legal entities change that.

What is shown was proven by the chain's own state. A governor speaks for its entity; more than two
thirds of the entities with a replica have to approve what one of them proposes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, proven_record, submit
from guqiaoctl.failures import (
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CHAINS, CSRC, MARKET, REPLICAS
from guqiaoctl.output import Progress, choose, print_json, print_table, say

READERS: Final = {CSRC: "reporting", MARKET: "maker"}
"""The account that reads each chain's state."""
BODY_DEPTH_MAX: Final = 16
BODY_BYTES_MAX: Final = 1024 * 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Governed:
    """What the state says of a chain's sets, at one height."""

    height: int
    present: ReplicaSet
    scheduled: tuple[tuple[int, ReplicaSet], ...]
    proposals: tuple[dict[str, Json], ...]

    def to_json(self) -> dict[str, Any]:
        """As a script reads it; `members` as a proposal takes them, beside number and state."""
        return {
            "chain": self.present.chain_id,
            "height": self.height,
            "epoch": self.present.epoch,
            "members": _members(self.present),
            "scheduled": [
                {"epoch": each.epoch, "from_height": height, "members": _members(each)}
                for height, each in self.scheduled
            ],
            "proposals": list(self.proposals),
        }


def status(data: Path, chain: str, *, as_json: bool) -> None:
    """Show the set in force, those that are scheduled, and the open proposals."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        found = guarded(asyncio.run, read_governed(network, known_chain(chain)))
    if as_json:
        print_json(found.to_json())
        return
    print_table(
        ("CHAIN", "EPOCH", "FROM", "REPLICA", "ENTITY", "NAME", "VOTES"),
        [
            (chain, each.epoch, height or "-", *row)
            for height, each in ((0, found.present), *found.scheduled)
            for row in _rows(each)
        ],
    )
    if found.proposals:
        print_table(
            ("PROPOSAL", "ENTITY", "APPROVALS"),
            [(row["id"], row["entity_id"], _count(row["approvals"])) for row in found.proposals],
        )


def propose(
    data: Path, chain: str, governor: int, *, file: Path | None, replace: Sequence[str]
) -> None:
    """Propose the set that `file` names, or the present one with other vote keys."""
    network = load_network(data)
    if (file is None) == (not replace):
        raise _malformed("give either a file or --replace", "请给出提案文件或 --replace，二者择一")
    proposing = _propose(network, known_chain(chain), governor, file, replace)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(asyncio.run, proposing)
    print(result.transaction_id.hex())


def approve(data: Path, chain: str, governor: int, proposal: str) -> None:
    """Approve a proposal in the name of an entity."""
    network = load_network(data)
    body: dict[str, Json] = {"proposal": proposal.strip().lower()}
    approving = _submit(network, known_chain(chain), governor, "approve", body)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(asyncio.run, approving)
    say(f"{chain}: {body['proposal']} +1 ({result.height})")


async def _propose(
    network: Network, chain: str, governor: int, file: Path | None, replace: Sequence[str]
) -> TransactionResult:
    if file is None:
        present = (await read_governed(network, chain)).present
        body = _with_keys(present, [replacement(text, present.size) for text in replace])
    else:
        body = body_of(file)
    return await _submit(network, chain, governor, "propose", body)


async def _submit(
    network: Network, chain: str, governor: int, method: str, body: dict[str, Json]
) -> TransactionResult:
    return await submit_as_governor(network, chain, governor, ("governance", method, body))


async def submit_as_governor(
    network: Network,
    chain: str,
    governor: int,
    call: tuple[str, str, Mapping[str, Json]],
    *,
    checker: str | None = None,
) -> TransactionResult:
    """Call a contract's method as the governor of an entity, with the account `checker` as second
    signer where there is one; raises `CliError` where it refuses.
    """
    if not 0 <= governor < REPLICAS:
        raise _malformed(
            f"there is no governor {governor}, they are 0 to {REPLICAS - 1}",
            f"没有 {governor} 号治理人，编号为 0 至 {REPLICAS - 1}",
        )
    return accepted(
        await submit(network, chain, call, maker=f"governor-{governor}", checker=checker)
    )


async def read_governed(network: Network, chain: str) -> Governed:
    """What the chain's state proves of its sets."""
    provider = open_provider()
    identity = open_identity(network, provider, chain, READERS[chain])
    async with open_chain(network, provider, chain, identity) as client:
        height = (await client.latest()).height
        if height == 0:  # Genesis, which nobody certified, is what the trust file names.
            return Governed(0, client.trust.replica_set, (), ())
        latest = await _value(client, "sets/latest", height)
        epoch = None if latest is None else latest["epoch"]
        assert isinstance(epoch, int), "genesis writes the first set"
        scheduled: list[tuple[int, ReplicaSet]] = []
        while True:
            from_height, found = await _set_of(client, epoch, height)
            if from_height <= height + 1:
                break
            scheduled.insert(0, (from_height, found))
            epoch -= 1
        entities = sorted({member.entity_id for member in found.members})
        open_ones = [await _value(client, f"proposal/{entity}", height) for entity in entities]
    proposals = tuple(each for each in open_ones if each is not None)
    return Governed(height, found, tuple(scheduled), proposals)


async def _set_of(client: ChainClient, epoch: int, height: int) -> tuple[int, ReplicaSet]:
    record = await _value(client, f"sets/{epoch:020d}", height)
    assert record is not None, "sets are kept for ever"
    from_height, encoded = record["from_height"], record["replica_set"]
    assert isinstance(from_height, int)
    assert isinstance(encoded, str)
    return from_height, ReplicaSet.decode(bytes.fromhex(encoded))


async def _value(client: ChainClient, key: str, height: int) -> dict[str, Json] | None:
    return await proven_record(client, f"governance/{key}", height)


def _members(replica_set: ReplicaSet) -> list[dict[str, Any]]:
    return [
        {
            "replica": member.replica,
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": member.public_key.hex(),
            "jailed": member.replica in replica_set.jailed,
        }
        for member in replica_set.members
    ]


def _rows(replica_set: ReplicaSet) -> list[tuple[object, ...]]:
    return [
        (
            member.replica,
            member.entity_id,
            member.entity_name,
            "JAILED" if member.replica in replica_set.jailed else "yes",
        )
        for member in replica_set.members
    ]


def _count(approvals: Json) -> int:
    return len(approvals) if isinstance(approvals, list) else 0


def _with_keys(present: ReplicaSet, keys: Sequence[tuple[int, str]]) -> dict[str, Json]:
    """The present members in a proposal's form, some with another vote key."""
    replaced = dict(keys)
    members: list[Json] = [
        {
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": replaced.get(member.replica, member.public_key.hex()),
        }
        for member in present.members
    ]
    return {"members": members, "governors": [], "not_before": 0}


def replacement(text: str, size: int) -> tuple[int, str]:
    """A replica's number and its next vote key, from N=HEX."""
    number, _, key = text.partition("=")
    if not number.isdecimal() or int(number) >= size or not key:
        raise _malformed(
            f"{text!r} does not name a replica and its next vote key, as in 3=04ab…",
            f"{text!r} 不是“副本编号=新投票公钥”的形式，例如 3=04ab…",
        )
    return int(number), key.strip().lower()


def body_of(file: Path) -> dict[str, Json]:
    """The JSON object in a file."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _malformed(
            f"{file} is no JSON document: {error}", f"{file} 不是 JSON 文档：{error}"
        ) from error
    if not isinstance(value, dict):
        raise _malformed(f"{file} holds no JSON object", f"{file} 的内容不是 JSON 对象")
    return value


def known_chain(chain: str) -> str:
    if chain not in CHAINS:
        raise _malformed(
            f"there is no chain {chain!r}, but {', '.join(CHAINS)}",
            f"没有链 {chain!r}，可用：{'、'.join(CHAINS)}",
        )
    return chain


def _malformed(english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        english,
        chinese,
        "see `guqiao governance --help`",
        "请查看 `guqiao governance --help`",
        exit_code=EXIT_USAGE,
    )
