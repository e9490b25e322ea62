"""What star/1 came to, recorded once and replayed for ever: forms, refusals, outcomes and gas.

    python -m tests.replay.star_1        # records what is not recorded yet; never changes a record

A chain executes old calls again whenever a replica catches up, so none of this may ever change: a
difference is an engine that would fork it (design section 6). Once released, new behaviour is
`star/2`, and other prices are another table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.star.harness import Echo
from tests.unit.star.programs import Programs
from tests.unit.star.test_refused_sources import REFUSED

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "star_1.jsonl"
CONTRACTS: Final = HERE.parents[1] / "data" / "contracts"
TEMPLATES: Final = HERE.parents[1] / "data" / "templates"
GENERATED: Final = 120
GAS: Final = 200_000
TABLE: Final = GasTable(
    node=1,
    call=5,
    element=1,
    bytes=1,
    read=50,
    write=100,
    scan=100,
    emit=50,
    digest=20,
    search=0,
    key=0,
    name=0,
)
PRESENT: Final = replace(TABLE, search=1, key=1, name=1)
"""Of the records that say so: those of new chains."""
AGAIN: Final = range(1_000, 1_040)
AROUND: Final = Surroundings(
    Party("did:rem:shandong:clerk", "k1", "did:rem:shandong:market", frozenset({"clerk", "b"})),
    Party("did:rem:shandong:other", "k2", "did:rem:shandong:market", frozenset()),
    7,
    1_700_000_000_000,
    "2026-03-02T10:00:00+08:00",
)
STATE: Final[dict[str, Json]] = {
    "own/a": [1, {"b": None, "股": "份"}],
    "own/b": 2,
    "open/c": "d",
    "free/P/A": 10,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call on the state above."""

    method: str
    arguments: dict[str, Json]
    gas: int = GAS


def outcome(program: Program, call: Call, table: GasTable) -> dict[str, Json]:
    """All that a chain would keep of it."""
    host: MemoryHost = Echo(STATE, AROUND)
    ended = host.run(program, Meter(call.gas, table), call.method, call.arguments)
    return {
        "status": ended.status.value,
        "code": ended.code,
        "fields": dict(ended.fields),
        "line": ended.line,
        "gas": ended.gas_used,
        "result": ended.result,
        "writes": dict(host.writes),
        "events": [[topic, body] for topic, body in host.events],
    }


def record(name: str, source: str, calls: list[Call], prices: str | None = None) -> dict[str, Any]:
    """What a source and its calls come to now, by the first table or by the `present` one."""
    kept: dict[str, Any] = {"name": name, "source": source}
    if prices is not None:
        kept["prices"] = prices
    table = TABLE if prices is None else {"present": PRESENT}[prices]
    try:
        module = compile_source(source.encode())
    except SourceError as error:
        return {**kept, "refused": [error.rule, error.line, error.column]}
    program = Program(module, table)
    made = [
        {
            "method": call.method,
            "arguments": call.arguments,
            "gas": call.gas,
            "outcome": outcome(program, call, table),
        }
        for call in calls
    ]
    return {**kept, "form": module.digest.hex(), "calls": made}


def again(kept: dict[str, Any]) -> dict[str, Any]:
    """The same now, from what the record says was done."""
    calls = [Call(each["method"], each["arguments"], each["gas"]) for each in kept.get("calls", ())]
    return record(kept["name"], kept["source"], calls, kept.get("prices"))


def corpus() -> list[dict[str, Any]]:
    """All records."""
    lines = CORPUS.read_text(encoding="utf-8").splitlines() if CORPUS.exists() else []
    return [json.loads(line) for line in lines]


def encoded(kept: dict[str, Any]) -> str:
    """A record's line. The order of members is a value's own: dictionaries are ordered."""
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def inputs() -> Iterator[tuple[str, str, list[Call], str | None]]:
    """What is worth recording, and by which prices."""
    for name, calls in (
        ("host", _of_host()),
        ("values", _of_values()),
        ("semantics", _of_semantics()),
    ):
        source = (HERE / f"{name}.star").read_text(encoding="utf-8")
        yield name, source, calls, None
        yield f"present {name}", source, calls, "present"
    transfer = (CONTRACTS / "transfer.star").read_text(encoding="utf-8")
    yield "transfer", transfer, _of_transfer(), None
    yield "present transfer", transfer, _of_transfer(), "present"
    for path in sorted(TEMPLATES.glob("*.star")):
        yield f"template {path.stem}", path.read_text(encoding="utf-8"), [], None
    for number, (rule, source, _, _) in enumerate(REFUSED):
        yield f"refused {number} {rule}", source, [], None
    for seed in (*range(GENERATED), *AGAIN):
        yield (
            f"generated {seed}",
            Programs(seed, may_be_refused=True).source(),
            _of_generated(seed),
            None,
        )


def _of_generated(seed: int) -> list[Call]:
    random, calls = Random(seed), []
    for gas in (GAS, GAS, random.randint(5, 250)):
        arguments: dict[str, Json] = {
            "a": random.randint(-20, 20),
            "b": random.randint(-20, 20),
            "s": random.choice(["", "a", "b,a", "12", " Zz ", "股份"]),
            "xs": [random.randint(-9, 9) for _ in range(random.randint(0, 4))],
        }
        calls.append(Call("f", arguments, gas))
    return calls


def _of_semantics() -> list[Call]:
    added: tuple[Json, ...] = ([1, 2], [], {"a": 1}, "ab", 1)
    one: list[Json] = [1]
    return [
        *(Call("in_place", {"values": values}) for values in added),
        *(Call("in_place_frozen", {"inner": inner}) for inner in (True, False)),
        *(Call("in_place_while_read", {"values": values}) for values in (one, [])),
        *(Call("once", {"n": n}) for n in (0, 1, 2)),
        Call("keywords", {}),
        *(Call("twice", {"a": "a", "b": b}) for b in ("b", "a", 1, True)),
        Call("nested", {"xs": [3, -1, 2, 5]}),
        Call("escapes", {}),
        Call("said", {}),
        *(Call("long", {"n": n}) for n in (1, 31, 32, 33, 64, 1_000, 30_000)),
        Call("long", {"n": 4_000}, 1_000),
        *(Call("many", {"n": n}) for n in (1, 255, 256, 2_000)),
    ]


def _of_host() -> list[Call]:
    return [
        Call("who", {}),
        Call("keep", {"key": "x", "value": {"b": [1, True, None], "a": "股"}}),
        Call("keep", {"key": "x", "value": None}),
        Call("forget", {"key": "a"}),
        Call("forget", {"key": "absent"}),
        *(Call("listed", {"limit": limit}) for limit in (0, 1, 10, 10**6, "1")),
        Call("outside", {"key": "secret/a"}),
        Call("outside", {"key": "open/c"}),
        Call("wrong", {"key": "c"}),
        Call("ask", {"value": [1, "a"]}),
        Call("ask_undeclared", {}),
        Call("refuse", {"n": 2}),
        Call("refuse", {"n": 4}),
        Call("refuse", {"n": "4"}),
        Call("refuse", {}),
        *(Call("odd", {"key": key}) for key in ("新", "", "a" * 600, "a/b~")),
        Call("fill", {"times": 2, "count": 15}),
        Call("fill", {"times": 11, "count": 1_000}, 5_000_000),
        Call("spend", {"count": 10}),
        *(Call("spend", {"count": 10_000}, gas) for gas in (0, 1, 999, 123_456)),
        Call("_who", {}),
        Call("unknown", {}),
    ]


def _of_values() -> list[Call]:
    pairs = [(7, 3), (-7, 3), (7, -3), (-7, -3), (0, 5), (2**62, 2**62), (5, 0)]
    lists: list[list[Json]] = [[3, 1], [], ["b", "a"], [1, "a"], [3, 1, 2], [5], [], [2, 2]]
    mixed: list[tuple[Json, Json]] = [
        (1, "a"),
        ("a", "b"),
        ([1], [2]),
        (True, 1),
        (None, None),
        ({"a": 1}, {"a": 1}),
        ([], {}),
    ]
    return [
        *(Call("numbers", {"a": a, "b": b}) for a, b in pairs),
        *(Call("divided", {"a": a, "b": b}) for a, b in pairs),
        *(Call("least", {"xs": xs}) for xs in lists[:4]),
        *(Call("large", {"n": n}) for n in (3, 12, 60)),
        *(Call("texts", {"s": s}) for s in ("", "a,b,,c", " Aäß股 ", "ab" * 40)),
        *(Call("orders", {"xs": xs}) for xs in lists[4:]),
        Call("changed_while_read", {"xs": [1]}),
        *(Call("mixed", {"a": a, "b": b}) for a, b in mixed),
        *(Call("compared", {"a": a, "b": b}) for a, b in mixed),
        *(Call("item", {"xs": [1, 2], "n": n}) for n in (0, -1, 2, -3, "0", True)),
        *(Call("deep", {"n": n}) for n in (3, 40)),
        Call("unpacked", {"pairs": [["a", 1], ["b", None], ["c", "x"]]}),
        Call("unpacked", {"pairs": [["a"]]}),
    ]


def _of_transfer() -> list[Call]:
    good: dict[str, Json] = {"product": "P", "seller": "A", "buyer": "B", "shares": 3}
    changes: list[dict[str, Json]] = [
        {},
        {"shares": 11},
        {"shares": 0},
        {"shares": "3"},
        {"buyer": "A"},
        {"seller": "C"},
    ]
    calls = [Call("transfer", {**good, **change}) for change in changes]
    return [
        *calls,
        Call("transfer", good, 100),
        Call("free_shares", {"product": "P", "holder": "A"}),
    ]


def main() -> None:
    """Append what is new."""
    known = {kept["name"] for kept in corpus()}
    new = [record(*each) for each in inputs() if each[0] not in known]
    with CORPUS.open("a", encoding="utf-8") as file:
        file.writelines(encoded(kept) + "\n" for kept in new)
    print(f"{len(new)} records added to {len(known)}")


if __name__ == "__main__":
    main()
