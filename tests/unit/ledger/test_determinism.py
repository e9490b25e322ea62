"""A block is a function of what is in it: not of the process, its locale, or another hash."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.ledger.chain_builder import MemoryChain, payload_of

REQUEST = "11111111-2222-3333-4444-555555555555"


def test_an_empty_block_changes_only_height_parent_and_roots_that_follow() -> None:
    chain = MemoryChain()
    before = chain.header
    result = chain.execute()
    assert (result.write_set, result.receipts) == ({}, ())
    assert chain.header.state_root == before.state_root
    assert (chain.header.height, chain.header.parent) == (1, before.hash())


_DETERMINISM = """
from tests.unit.ledger.chain_builder import *
chain = MemoryChain()
for block in range(3):
    payloads = [
        payload_of("write", {"put": {f"k{n}-{m}": n for m in range(5)}, "send": ["data_object"],
            **({"refuse": "NO"} if n % 3 == 0 else {})},
            request_id=f"00000000-0000-0000-{block:04d}-{n:012d}")
        for n in range(10)
    ]
    request_id = f"{block:08d}-0000-0000-0000-000000000000"
    result = chain.execute(*payloads, payload_of("count", request_id=request_id))
print(chain.header.hash().hex())
"""


@pytest.mark.req("G2-07-3", "G2-08-1")
def test_p20_hash_seed_time_zone_and_locale_do_not_show_in_a_header() -> None:
    root = Path(__file__).parents[3]
    outputs = set()
    for seed, zone, locale in (("0", "UTC", "C"), ("1", "Asia/Shanghai", "C.UTF-8")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "LC_ALL": locale,
            "PYTHONPATH": str(root),
        }
        run = subprocess.run(
            [sys.executable, "-c", _DETERMINISM],
            env=environment,
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(run.stdout.strip())
    assert len(outputs) == 1
    assert len(outputs.pop()) == 64


@pytest.mark.req("G2-09-1")
def test_no_hash_of_a_block_comes_from_another_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every other way to a digest closed, a block is executed, rooted and hashed as ever."""
    first = MemoryChain()
    payload = payload_of("count", request_id=REQUEST)
    first.execute(payload)

    def refuse(*_: object, **__: object) -> object:
        raise AssertionError("a hash that is not SM3")

    for name in (*hashlib.algorithms_guaranteed, "new"):
        monkeypatch.setattr(hashlib, name, refuse)
    second = MemoryChain()
    second.execute(payload)
    assert second.header == first.header
