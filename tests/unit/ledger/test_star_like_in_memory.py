"""A contract comes to the same on the chain as on a host in memory, whatever it is given.

What developers try on their machine is what will happen; and nothing that anybody sends stops a
replica: a call ends in a value or in a refusal, never in another exception.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.deployed import FIRST_GAS
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.execution import Status
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.contracts.star_chain import (
    call_payload,
    deploy,
    facts,
    star_chain,
    stored,
    told,
)
from tests.unit.ledger.chain_builder import CLERK, MARKET, MemoryChain

SOURCE = """
ACCESS = {"read": ["r/"], "write": ["w/"]}

def play(steps):
    seen = []
    for step in steps:
        kind = step[0]
        if kind == "put":
            put(step[1], step[2])
        elif kind == "delete":
            delete(step[1])
        elif kind == "get":
            seen.append(get(step[1]))
        elif kind == "scan":
            seen.append(scan(step[1], step[2]))
        elif kind == "emit":
            emit(step[1], step[2])
        elif kind == "require":
            require(step[1], step[2], what=seen)
        elif kind == "call":
            seen.append(call(step[1], step[2]))
        elif kind == "sm3":
            seen.append(sm3(step[1]))
        else:
            seen.append(step[1] * step[2] + seen[step[3]])
    return [seen, sender(), checker(), height(), business_time()]
"""
LIMIT = 30_000
MAKER = Party(CLERK, "k1", MARKET, frozenset({"clerk"}))

WHOLE: st.SearchStrategy[Json] = st.sampled_from(["w/a", "w/b", "w/"])
KEYS: st.SearchStrategy[Json] = st.sampled_from(
    ["r/a", "x", "", "w/股", "w/a b", 3, None, [], {}, "w/" + "k" * 255]
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text("a股\n", max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text("ab", max_size=2), part),
    max_leaves=6,
)
GOOD = st.one_of(
    st.tuples(st.just("put"), WHOLE, VALUES.filter(lambda value: value is not None)),
    st.tuples(st.just("delete"), WHOLE),
    st.tuples(st.just("get"), WHOLE),
    st.tuples(st.just("scan"), WHOLE, st.integers(1, 3)),
    st.tuples(st.just("emit"), st.sampled_from(["t", "t.u", "object.recorded"]), VALUES),
    st.tuples(st.just("require"), st.just(True), st.just("CODE_OF")),
    st.tuples(st.just("sm3"), st.text("a股\n", max_size=5)),
)
ODD = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES),
    st.tuples(st.just("put"), WHOLE, st.none()),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("scan"), WHOLE | KEYS, st.sampled_from([0, 1_001, True, "1", -1])),
    st.tuples(st.just("emit"), st.sampled_from(["packet.sent", "T", 1, "t" * 129]), VALUES),
    st.tuples(st.just("require"), st.booleans(), st.sampled_from(["CODE_OF", "BLOCK_FULL", "x"])),
    st.tuples(st.just("call"), st.sampled_from(["identity", "self_same"]), st.just("f")),
    st.tuples(st.just("sm3"), VALUES),
    st.tuples(st.just("sum"), VALUES, VALUES, st.integers(-2, 2)),
    st.tuples(st.just("put")),
)
STEPS = st.tuples(st.lists(GOOD, max_size=8), st.lists(ODD, max_size=1)).map(
    lambda parts: parts[0] + parts[1]
)


@cache
def played() -> MemoryChain:
    chain = star_chain(transaction_limit=LIMIT, block_limit=LIMIT)
    deploy(chain, "player", SOURCE)
    return chain


@cache
def program() -> Program:
    return Program(compile_source(SOURCE.encode()), FIRST_GAS.prices)


def state_of(chain: MemoryChain) -> dict[str, Json]:
    keys = [key.decode() for key in chain.state.entries if key.startswith(b"player/")]
    return {key[7:]: stored(chain, "player", key[7:]) for key in keys}


@pytest.mark.req("G2-08-1")
@settings(max_examples=150)
@given(STEPS, st.sampled_from(["steps"] * 9 + ["other"]))
def test_a_call_ends_alike_on_the_chain_and_in_memory(steps: list[Any], name: str) -> None:
    chain = played()
    before = state_of(chain)
    arguments: dict[str, Json] = {name: [list(step) for step in steps]}
    payload = call_payload(chain, "player", "play", arguments)
    receipt = chain.receipt(payload)

    block_time_ms = chain.header.block_time_ms
    around = Surroundings(MAKER, None, chain.header.height, block_time_ms, None)
    host = MemoryHost(before, around)
    meter = Meter(LIMIT, FIRST_GAS.prices)
    outcome = host.run(program(), meter, "play", arguments)

    if outcome.status is Status.OK:
        assert receipt.accepted, (receipt.code, receipt.detail)
        assert told(receipt) == {f"contract.player.{topic}": body for topic, body in host.events}
        if not any(step[0] == "scan" for step in steps):
            assert facts(receipt)["gas"] == outcome.gas_used
        if "result" in facts(receipt):
            assert facts(receipt)["result"] == outcome.result
        assert state_of(chain) == host.after()
    else:
        code = "CONTRACT_REFUSED" if outcome.is_refusal else outcome.code
        assert receipt.code == code
        assert facts(receipt).get("at", f"player:{outcome.line}") == f"player:{outcome.line}"
        assert receipt.events == ()
        assert state_of(chain) == before
