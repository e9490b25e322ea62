"""`guqiao observed`: what is printed was verified, and everything else ends with its exit code."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.proof.fisco.checkpoint import encode_checkpoint, parse_checkpoint
from tests.plugins.fisco_chain import FiscoChain, hexed
from tests.plugins.fisco_node import FiscoNode
from tests.unit.cli.running import Command, command_of

pytestmark = pytest.mark.req("T2-13")


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("observed", monkeypatch, capsys)


@pytest.fixture
def chain() -> FiscoChain:
    made = FiscoChain()
    for count in (2, 3):
        made.add_block(count)
    return made


@pytest.fixture
def checkpoint(chain: FiscoChain, tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.json"
    path.write_bytes(encode_checkpoint(chain.trusted()))
    return path


@contextmanager
def served(chain: FiscoChain, **manners: Any) -> Iterator[str]:
    """The address of a node that answers in a thread of its own: a command runs a loop itself."""
    node, loop = FiscoNode(chain, **manners), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(node.start(), loop).result(10)
    try:
        yield node.url
    finally:
        asyncio.run_coroutine_threadsafe(node.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_status_header_and_transaction_are_shown(
    observed: Command, chain: FiscoChain, checkpoint: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "next.json"
    with served(chain) as url:
        known = ("--checkpoint", checkpoint, "--node", url, "-o", "json")
        told = observed("status", *known)
        head = observed("header", *known, "--save", saved)
        ids = head.json["transactions"]
        sent = observed("transaction", ids[1], *known)
        table = observed("header", *known[:-2], "--height", "1")
    assert (told.code, told.json["height"], told.json["proven"]) == (0, 2, False)
    assert (head.code, head.json["height"], len(head.json["signers"])) == (0, 2, 4)
    assert ["0x" + each for each in ids] == chain.block(2)["transactions"]
    assert (sent.code, sent.json["height"], sent.json["index"]) == (0, 2, 1)
    assert sent.json["succeeded"] is True
    assert parse_checkpoint(saved.read_bytes()) == chain.trusted(2)
    assert (table.code, chain.block(1)["hash"][2:] in table.out) == (0, True)


def test_a_lie_ends_with_exit_code_7_and_saves_nothing(
    observed: Command, chain: FiscoChain, checkpoint: Path, tmp_path: Path
) -> None:
    def lie(method: str, result: Any) -> Any:
        is_block = method == "getBlockByNumber" and result["number"] > 0
        return {**result, "stateRoot": hexed(b"\x01" * 32)} if is_block else result

    saved = tmp_path / "next.json"
    with served(chain, spoil=lie) as url:
        known = ("header", "--checkpoint", checkpoint, "--node", url, "--save", saved)
        english, chinese = observed(*known), observed(*known, language="zh")
    assert (english.code, english.out) == (7, "")
    assert "HEADER_UNVERIFIED" in english.err
    assert "哈希与各字段不符" in chinese.err
    assert not saved.exists()


def test_what_is_away_unknown_or_mistyped_has_its_exit_code(
    observed: Command, chain: FiscoChain, checkpoint: Path, tmp_path: Path
) -> None:
    with served(chain) as url:
        known = ("--checkpoint", checkpoint, "--node", url)
        unknown = observed("header", *known, "--height", "99")
        mistyped = observed("transaction", "abc", *known)
    away = observed("status", *known)
    address = observed("status", "--checkpoint", checkpoint, "--node", "127.0.0.1")
    secure = observed(
        "status", "--checkpoint", checkpoint, "--node", "https://a:1", "--ca", tmp_path / "none"
    )
    no_file = observed("status", "--checkpoint", tmp_path / "none", "--node", url)
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"format": "x"}))
    malformed = observed("status", "--checkpoint", broken, "--node", url)
    found = [each.code for each in (unknown, mistyped, away, address, secure, no_file, malformed)]
    assert found == [3, 2, 6, 2, 2, 3, 7]
    assert "OBSERVED_ITEM_UNKNOWN" in unknown.err
    assert "OBSERVED_NODE_UNAVAILABLE" in away.err
    assert "TRUST_INVALID" in malformed.err
