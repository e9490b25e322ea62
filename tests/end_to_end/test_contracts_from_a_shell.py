"""`guqiao contract` as a shell starts it: the same bytes wherever and however it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRANSFER = ROOT / "data" / "contracts" / "transfer.star"
SECONDS_MAX = 180
CALL = '{"product": "P", "seller": "A", "buyer": "B", "shares": 3}'


def guqiao(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "guqiaoctl", "contract", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", **environment},
        capture_output=True,
        timeout=SECONDS_MAX,
    )


@pytest.mark.req("G2-08-1")
def test_a_call_prints_the_same_bytes_under_any_hash_seed_zone_and_locale(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"free/P/A": 10}')
    call = ("run", str(TRANSFER), "--method", "transfer", "--sender-role", "clerk", "-o", "json")
    printed = set()
    for seed, zone, locale in (
        ("0", "UTC", "C"),
        ("1", "Asia/Shanghai", "zh_CN.UTF-8"),
        ("77", "America/New_York", "C.UTF-8"),
    ):
        ended = guqiao(
            tmp_path,
            *call,
            *("--args", CALL, "--state", "state.json"),
            PYTHONHASHSEED=seed,
            TZ=zone,
            LC_ALL=locale,
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        printed.add(ended.stdout)
    (only,) = printed
    assert json.loads(only)["writes"] == {"free/P/A": 7, "free/P/B": 3}


def test_a_state_is_carried_from_call_to_call(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"free/P/A": 10}')
    call = ("run", str(TRANSFER), "--method", "transfer", "--sender-role", "clerk", "-o", "json")
    ends = []
    for _ in range(4):
        ended = guqiao(tmp_path, *call, "--args", CALL, "--state", "state.json", "--write-state")
        ends.append((ended.returncode, json.loads(ended.stdout)["result"]))
    assert ends == [(0, 7), (0, 4), (0, 1), (5, None)]
    assert json.loads((tmp_path / "state.json").read_text()) == {"free/P/A": 1, "free/P/B": 9}


def test_a_hostile_source_ends_without_a_traceback(tmp_path: Path) -> None:
    for number, source in enumerate(
        (
            b"def f():\n    return " + b"(" * 30_000,
            b"x = " + b"-" * 60_000 + b"1\n",
            b"\xff\xfe\x00",
            "def f():\n    return '\u202e\u0430'\n".encode(),
            b"def f():\n    return [i for i in range(10000) for j in range(10000)]\n",
            b"def f():\n    x = 'a' * 65536\n    return [x + x]\n",
            b"def f():\n    x = 2\n    for i in range(99):\n        x *= x\n    return x\n",
            b"def f():\n    return '\\d'\n",
        )
    ):
        (tmp_path / "made.star").write_bytes(source)
        ended = guqiao(
            tmp_path, "run", "made.star", "--method", "f", "--gas", "1000000", "-o", "json"
        )
        told = json.loads(ended.stdout)
        assert told["status"] == "ok" or told["code"], number
        assert ended.returncode in (0, 5, 7), number
        assert b"Traceback" not in ended.stderr, number
        assert b"Warning" not in ended.stderr, number
