"""The demonstration's judgement of data objects: what is doubled, foreign, missing or changed on
the regulatory chain is found, so is an acknowledgement that the local chain does not hold, and a
packet that only one end knows.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace as Facts
from typing import Any, cast

import pytest

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.proof.data_object import data_object_digest
from guqiaoctl.demo.anchors import Sent, check_acknowledged, check_recorded
from guqiaoctl.demo.failure import DemoError
from guqiaoctl.demo.link import compare

SOURCE_TRANSACTION = bytes(32)


SEALERS = frozenset({"04aa", "04bb"})


def an_object(object_id: str, *keys: str) -> dict[str, Any]:
    seals = [{"pub_key": {"value": each}} for each in keys or ("04aa",)]
    return {"id": object_id, "header": {"seal": seals}}


def sent(*ids: str) -> dict[str, Sent]:
    return {each: Sent(0, data_object_digest(an_object(each)), SOURCE_TRANSACTION) for each in ids}


@dataclass
class FakeChain:
    """A chain's blocks, by their receipts, and what its state holds at its last height."""

    blocks: Sequence[Sequence[Facts]]
    state: Mapping[str, Any] = field(default_factory=dict)

    async def latest(self) -> Facts:
        return Facts(height=len(self.blocks))

    async def get_state_proof(self, key: str, height: int) -> Facts:
        assert height == len(self.blocks)
        found = self.state.get(key)
        return Facts(value=None if found is None else json.dumps(found).encode())

    async def watch_blocks(self, from_height: int) -> AsyncGenerator[Facts]:
        for height, receipts in enumerate(self.blocks[from_height - 1 :], start=from_height):
            yield Facts(height=height, receipts=receipts)
        raise AssertionError("asked for more than the last height")


def as_client(chain: FakeChain) -> ChainClient:
    return cast("ChainClient", chain)


def regulatory(*blocks: Sequence[str], **changes: Any) -> ChainClient:
    """A regulatory chain whose blocks recorded these objects; `changes` to each record."""

    def receipt(object_id: str) -> Facts:
        body = json.dumps({"object_id": object_id, "version": 0})
        other = Facts(topic="packet.received", body="{}")
        return Facts(events=[other, Facts(topic="object.recorded", body=body)])

    state = {
        f"objects/{each}/0": {
            "object": an_object(each),
            "transaction_id": SOURCE_TRANSACTION.hex(),
            "source": "shandong",
            **changes,
        }
        for block in blocks
        for each in block
    }
    return as_client(FakeChain([[receipt(each) for each in block] for block in blocks], state))


async def test_objects_recorded_once_each_are_found_right() -> None:
    await check_recorded(regulatory(["a"], [], ["b", "c"]), sent("a", "b", "c"), SEALERS)


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ([["a"], ["b", "a"]], "recorded a more than once"),
        ([["a", "b"], ["x"]], "recorded x, which nobody sent"),
        ([["a"], []], "b is not on the regulatory chain"),
    ],
)
async def test_a_doubled_foreign_or_missing_object_is_found(
    blocks: Sequence[Sequence[str]], complaint: str
) -> None:
    with pytest.raises(DemoError, match=complaint):
        await check_recorded(regulatory(*blocks), sent("a", "b"), SEALERS)


@pytest.mark.parametrize(
    "change", [{"object": {"id": "other"}}, {"transaction_id": "ff"}, {"source": "hubei"}]
)
async def test_a_changed_object_is_found(change: dict[str, Any]) -> None:
    with pytest.raises(DemoError, match="another content"):
        await check_recorded(regulatory(["a"], **change), sent("a"), SEALERS)


@pytest.mark.parametrize("keys", [[], ["04cc"], ["04aa", "04cc"]])
async def test_an_object_without_a_seal_of_a_filed_certificate_is_found(keys: list[str]) -> None:
    sealed: dict[str, Any] = {
        "id": "a",
        "header": {"seal": [{"pub_key": {"value": each}} for each in keys]},
    }
    known = {"a": Sent(0, data_object_digest(sealed), SOURCE_TRANSACTION)}
    with pytest.raises(DemoError, match="filed certificate"):
        await check_recorded(regulatory(["a"], object=sealed), known, SEALERS)
    two = an_object("a", *sorted(SEALERS))
    known = {"a": Sent(0, data_object_digest(two), SOURCE_TRANSACTION)}
    await check_recorded(regulatory(["a"], object=two), known, SEALERS)


def local(packets: Sequence[str], answers: Mapping[int, dict[str, Any] | None]) -> ChainClient:
    """A local chain that sent these objects, each acknowledged; `answers` to some sequences are
    changed, or None: there is none.
    """
    state: dict[str, Any] = {}
    for sequence, object_id in enumerate(packets, start=1):
        state[f"packets/commitment/csrc/data_object/{sequence:020d}"] = "commitment"
        change = answers.get(sequence, {})
        if change is not None:
            answer = {
                "code": "",
                "object_id": object_id,
                "version": 0,
                "digest": data_object_digest(an_object(object_id)).hex(),
                "transaction_id": SOURCE_TRANSACTION.hex(),
                **change,
            }
            key = f"packets/acknowledged/csrc/data_object/{sequence:020d}"
            state[key] = {"commitment": "commitment", "acknowledgement": answer}
    return as_client(FakeChain([[]], state))


async def test_acknowledgements_of_all_objects_are_found_right() -> None:
    await check_acknowledged(local(["a", "b"], {}), sent("b", "a"))


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({2: None}, "packet 2 has no acknowledgement on the local chain"),
        ({2: {"code": "OBJECT_CONFLICT"}}, "packet 2 was acknowledged with OBJECT_CONFLICT"),
        ({2: {"object_id": "x"}}, r"no such acknowledgement of (b|x)"),
        ({2: {"version": 1}}, "no such acknowledgement of b"),
        ({2: {"digest": "ff" * 32}}, "no such acknowledgement of b"),
        ({2: {"transaction_id": "ff" * 32}}, "no such acknowledgement of b"),
    ],
)
async def test_a_missing_refused_or_other_acknowledgement_is_found(
    answers: dict[int, dict[str, Any] | None], complaint: str
) -> None:
    with pytest.raises(DemoError, match=complaint):
        await check_acknowledged(local(["a", "b"], answers), sent("a", "b"))


@pytest.mark.parametrize("packets", [["a"], ["a", "b", "c"]])
async def test_an_object_without_packet_or_a_packet_without_object_is_found(
    packets: Sequence[str],
) -> None:
    with pytest.raises(DemoError, match=r"no such acknowledgement of (b|c)"):
        await check_acknowledged(local(packets, {}), sent("a", "b"))


def ends(*, sent: int = 3, received: int = 3, acknowledged: int = 3, changed: str = "") -> Any:
    """The chains of a link, by how many packets each end proves; `changed` is a key with another
    commitment.
    """

    def held(prefix: str, other: str, count: int, *, bare: bool = False) -> dict[str, Any]:
        found = {}
        for sequence in range(1, count + 1):
            key = f"packets/{prefix}/{other}/data_object/{sequence:020d}"
            value = f"{0xFF if key == changed else sequence:064x}"
            found[key] = value if bare else {"commitment": value}
        return found

    local = held("commitment", "csrc", sent, bare=True) | held("acknowledged", "csrc", acknowledged)
    chains = FakeChain([[]], local), FakeChain([[]], held("receipt", "shandong", received))
    return [as_client(chain) for chain in chains]


async def test_both_ends_of_a_link_prove_the_same_packets() -> None:
    found = await compare(*ends())
    assert found.packets == 3
    assert found != await compare(*ends(sent=2, received=2, acknowledged=2))


@pytest.mark.parametrize(
    "difference",
    [
        {"sent": 4},
        {"received": 2},
        {"received": 4},
        {"acknowledged": 2},
        {"changed": f"packets/receipt/shandong/data_object/{2:020d}"},
        {"changed": f"packets/acknowledged/csrc/data_object/{3:020d}"},
        {"changed": f"packets/commitment/csrc/data_object/{1:020d}"},
    ],
)
async def test_ends_of_a_link_that_differ_are_found(difference: dict[str, Any]) -> None:
    with pytest.raises(DemoError, match="received"):
        await compare(*ends(**difference))
